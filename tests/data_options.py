"""PortraitData for tests: settings by their own names, whichever group they belong to."""

from dataclasses import fields

from piqa.data.datamodule import PortraitData
from piqa.data.options import InputOptions, LoadingOptions, SamplingOptions, StoreOptions

GROUPS = {"store": StoreOptions, "inputs": InputOptions, "sampling": SamplingOptions, "loading": LoadingOptions}


def portrait_data(table, preparation, store, **settings):
    """Data that prepare on the CPU and load in this process; `workers` are those that load."""
    values = {"store": {"folder": str(store), "workers": 0, "device": "cpu"}, "loading": {"workers": 0}}
    for group, options in reversed(GROUPS.items()):  # `workers` of loading before those of the store
        for name in {field.name for field in fields(options)} & settings.keys():
            values.setdefault(group, {})[name] = settings.pop(name)
    groups = {group: options(**values.get(group, {})) for group, options in GROUPS.items()}
    return PortraitData(table, preparation, **groups, **settings)
