"""Settings under their former names. There are no aliases: a former name is answered with today's name."""

from __future__ import annotations

import re

DATA_SETTINGS = {
    "data.store": "data.store.folder",
    "data.prepare_workers": "data.store.workers",
    "data.prepare_device": "data.store.device",
    "data.max_failed": "data.store.max_failed",
    "data.view": "data.inputs.view",
    "data.crop": "data.inputs.crop_size",
    "data.crops": "data.inputs.test_crops",
    "data.flip": "data.inputs.flip",
    "data.pairs": "data.sampling.pairs",
    "data.groups": "data.sampling.groups_per_step",
    "data.group_size": "data.sampling.images_per_group",
    "data.images_per_group": "data.sampling.images_per_group",
    "data.pictures": "data.sampling.images_per_database",
    "data.images": "data.sampling.images_per_database",
    "data.steps": "data.sampling.steps_per_epoch",
    "data.scoring_batch": "data.loading.eval_batch_size",
    "data.eval_batch_size": "data.loading.eval_batch_size",
    "data.workers": "data.loading.workers",
    "data.select_on": "data.checkpoint_selection_split",
    "data.validation": "data.validation_fraction",
}
_TRAINING = DATA_SETTINGS | {"model.speed": "model.compute"}
_PREDICT = {"names": "list", "pairs": "prompts", "crops": "test_crops"}
SETTINGS = {
    "fit": _TRAINING,
    "prepare": _TRAINING,
    "pretrain": _TRAINING,
    "evaluate": {
        "samples": "statistics.bootstrap_samples",
        "levels": "statistics.levels",
        "seed": "statistics.seed",
        "clear": "pairs.clear",
        "near": "pairs.near",
        "store": "scoring.store",
        "crops": "scoring.test_crops",
        "batch_size": "scoring.batch_size",
        "device": "scoring.device",
        "precision": "scoring.precision",
        "liqe": "scoring.liqe",
    },
    "submission": {"crops": "test_crops"},
    "predict": _PREDICT,
    "predict_ray": _PREDICT,
}
# Of classes that a setting names, such as tables; jsonargparse parses these apart, as the program `-`.
ARGUMENTS = {"test_share": "test_fraction", "val_share": "val_fraction", "pairs": "prompts"}
_UNKNOWN = re.compile(  # how it names a setting that it does not know, or one that is now a group of settings
    r"Group '(?P<group>[\w.]+)' does not accept option '(?P<option>[\w.]+)'"
    r"|Option '(?P<nested>[\w.]+)' is not accepted"
    r'|Parser key "(?P<value>[\w.]+)": Unable to load config'
    r"|(?<!\S)--(?P<flag>[\w.]+)"
)
_MOVED = re.compile(r"\bpiqa\.tasks\.scoring\.(\w+)")


def name_today(former: str, command: str) -> str | None:
    """Return today's name of a setting that has lost its former name; None for any other."""
    today = SETTINGS[command].get(former)
    return None if today is None or today.startswith(f"{former}.") else today


def new_names(message: str, program: str) -> str | None:
    """Return the answer to a parser's error that names settings by their former names; None if it names none."""
    table = SETTINGS.get(re.split(r"[ .]", program)[-1], ARGUMENTS)  # the last word of `piqa fit` is the command
    answers: dict[str, str] = {}
    for match in _UNKNOWN.finditer(message):
        dashes = "--" if match["flag"] else ""
        name = match["flag"] or match["value"] or match["nested"] or f"{match['group']}.{match['option']}"
        for former, today in table.items():
            if name == former or (name.startswith(f"{former}.") and not today.startswith(f"{former}.")):
                answers[f"{dashes}{former}"] = f"{dashes}{today}"
    answers |= {moved[0]: f"piqa.tasks.{moved[1]}" for moved in _MOVED.finditer(message)}
    return "; ".join(f"`{former}` is now called `{today}`" for former, today in answers.items()) or None
