"""piqa judges the quality of portrait photographs: `Scorer.load("model").score(["a.jpg", "b.jpg"])`.

Everything that is listed here is imported when it is first asked for, so that `import piqa` takes no time.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from piqa.data import (
        AVA,
        BID,
        CADB,
        CLIVE,
        CSIQ,
        GFIQA,
        KADID,
        LIVE,
        LSVQ,
        PIQ23,
        SPAQ,
        TAD66K,
        TID2013,
        CSVTable,
        FiveK,
        FlickrAES,
        KonIQ,
        Mix,
        Pictures,
        PortraitData,
        TableDataset,
    )
    from piqa.data.tables.table import Table
    from piqa.errors import FileAccessError, InputError
    from piqa.evaluation.metrics import krocc, mae, pair_accuracy, per_scene, plcc, rmse, srocc, summarise
    from piqa.evaluation.scene_metrics import SceneKROCC, ScenePairAccuracy, ScenePLCC, SceneSROCC
    from piqa.factors.measure import FactorMeasurer, PortraitFactors, measure_factors
    from piqa.models import (
        CLIPIQA,
        LIQE,
        NIMA,
        Backbone,
        CLIPIQAPlus,
        ColourNet,
        CompositionNet,
        DualBranch,
        ExposureMap,
        Focus,
        LightStudent,
        MultiScaleNet,
        NoiseNet,
        Regressor,
        TANet,
    )
    from piqa.preparation.image_file import open_image
    from piqa.preparation.portrait import Portrait, Preparation
    from piqa.preparation.store import PreparedStore
    from piqa.scoring.scorer import Scorer
    from piqa.tasks import losses
    from piqa.tasks.losses import fidelity_loss, plcc_loss, preference, published_fidelity_loss

    __version__: str

if sys.argv[:1] == ["-m"]:  # `python -m piqa.fit` is being started, and imports for seconds
    from piqa.errors import import_without_collecting, tell_ctrl_c

    tell_ctrl_c()
    import_without_collecting()

_HOMES = {
    "piqa.scoring.scorer": ("Scorer",),
    "piqa.models": (
        *("CLIPIQA", "LIQE", "NIMA", "Backbone", "CLIPIQAPlus", "ColourNet", "DualBranch", "MultiScaleNet", "NoiseNet"),
        *("Regressor", "TANet"),
        *("CompositionNet", "ExposureMap", "Focus", "LightStudent"),
    ),
    "piqa.tasks.losses": ("fidelity_loss", "plcc_loss", "preference", "published_fidelity_loss"),
    "piqa.evaluation.metrics": ("krocc", "mae", "pair_accuracy", "per_scene", "plcc", "rmse", "srocc", "summarise"),
    "piqa.evaluation.scene_metrics": ("SceneKROCC", "ScenePLCC", "ScenePairAccuracy", "SceneSROCC"),
    "piqa.data": (
        *("AVA", "BID", "CADB", "CLIVE", "CSIQ", "GFIQA", "KADID", "LIVE", "LSVQ", "PIQ23", "SPAQ", "TAD66K"),
        *("TID2013", "CSVTable", "FiveK", "FlickrAES", "KonIQ", "Mix", "Pictures", "PortraitData"),
        "TableDataset",
    ),
    "piqa.data.tables.table": ("Table",),
    "piqa.factors.measure": ("FactorMeasurer", "PortraitFactors", "measure_factors"),
    "piqa.preparation.portrait": ("Portrait", "Preparation"),
    "piqa.preparation.store": ("PreparedStore",),
    "piqa.preparation.image_file": ("open_image",),
    "piqa.errors": ("FileAccessError", "InputError"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AVA",
    "BID",
    "CADB",
    "CLIPIQA",
    "CLIVE",
    "CSIQ",
    "GFIQA",
    "KADID",
    "LIQE",
    "LIVE",
    "LSVQ",
    "NIMA",
    "PIQ23",
    "SPAQ",
    "TAD66K",
    "TID2013",
    "Backbone",
    "CLIPIQAPlus",
    "CSVTable",
    "ColourNet",
    "CompositionNet",
    "DualBranch",
    "ExposureMap",
    "FactorMeasurer",
    "FileAccessError",
    "FiveK",
    "FlickrAES",
    "Focus",
    "InputError",
    "KonIQ",
    "LightStudent",
    "Mix",
    "MultiScaleNet",
    "NoiseNet",
    "Pictures",
    "Portrait",
    "PortraitData",
    "PortraitFactors",
    "Preparation",
    "PreparedStore",
    "Regressor",
    "SceneKROCC",
    "ScenePLCC",
    "ScenePairAccuracy",
    "SceneSROCC",
    "Scorer",
    "TANet",
    "Table",
    "TableDataset",
    "__version__",
    "fidelity_loss",
    "krocc",
    "losses",
    "mae",
    "measure_factors",
    "open_image",
    "pair_accuracy",
    "per_scene",
    "plcc",
    "plcc_loss",
    "preference",
    "published_fidelity_loss",
    "rmse",
    "srocc",
    "summarise",
]


def __getattr__(name: str) -> object:
    """Import a public name on first use, so that `piqa --help` does not wait for torch."""
    if name == "__version__":
        return _version()
    if name == "losses":
        return import_module("piqa.tasks.losses")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'piqa' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    """Return the installed version; "0+unknown" where the sources are used without an installation."""
    metadata = import_module("importlib.metadata")
    try:
        return str(metadata.version("dn-piqa"))
    except metadata.PackageNotFoundError:
        return "0+unknown"
