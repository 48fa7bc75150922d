"""PIQ23 as it is downloaded."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from piqa.data.tables.paths import image_paths
from piqa.data.tables.table import Table, require_choice, validate
from piqa.errors import InputError
from piqa.system.csv_text import read_csv, require_columns

Attribute = Literal["overall", "details", "exposure"]
OfficialSplit = Literal["scene", "device"]

REPOSITORY = "DXOMARK-Research/PIQ2023"  # on GitHub; has the splits and the devices, not the images
CHECKOUTS = ("PIQ2023", "PIQ2023-main")  # the repository cloned, or downloaded as a zip
SCORE_COLUMNS = {"image": "IMAGE", "score": "JOD", "score_std": "JOD STD", "scene": "SCENE", "condition": "CONDITION"}


class PIQ23(Table):
    """PIQ23: portraits of 50 scenes, compared pairwise by experts.

    Layout, of the archive and (the last two folders) of the dataset's repository:

    ```
    root/
      Overall/  Details/  Exposure/          images, <number>_<condition>_Scene_<index>.<jpg|JPG|jpeg|tiff|tif>
      Scores_Overall.csv  Scores_Details.csv  Scores_Exposure.csv
      Test split/Scene Split.csv             also: Device Split.csv, and the ready-made score files of each split
      Metadata/Image Metadata.csv            the device of every image; optional
    ```

    The CSV files may also stand in `labels` or `root` itself, or in a folder PIQ2023 (the repository, checked out)
    in or beside them.

    Images: 5116 in each of the three attributes; the names are the same, the pixels are not (every folder shows the
    region of interest of its attribute). 4 conditions: Indoor 1397, Outdoor 1616, Night 1248, Lowlight 855.

    Scores: JOD (just objectionable differences), higher is better; centred on 0 in every scene, with a standard
    deviation of about 1.4, so comparable within a scene only. Exposure/1364_Indoor_Scene_13.jpg was never compared:
    its score is meaningless.

    Splits, the same for every attribute:

    - scene: 3630 train, 1486 test; 35 and 15 scenes, disjoint,
    - device: 3604 train, 1512 test; all 50 scenes in both. Many of the 194 devices are in both too.

    Neither has a validation part; `hold_out_scenes` makes one.

    Terms: non-commercial research; the images are handed out on request and may not be passed on. Citation: Chahine et
    al., "An Image Quality Assessment Dataset for Portraits", CVPR 2023.

    Args:
        root: Folder of the dataset.
        attribute: Which attribute was judged: overall, details or exposure.
        split: Official split: scene (new scenes in the test) or device (new images of known scenes).
        labels: Folder of the CSV files, if it is another than `root`.
        also: Further attributes, whose JOD and JOD STD become `score.<attribute>` and `score_std.<attribute>` of the
            images that have them, by name. The images stay those of `attribute`: what experts said of another
            attribute they said of another region of the image.
        check_files: Whether every image must be on disk; off, predictions can be judged without the images.

    Raises:
        InputError: If there is no such attribute or split.

    Examples:
        >>> PIQ23("data/piq23", attribute="exposure").name
        'PIQ23 exposure, scene split'
    """

    def __init__(
        self,
        root: str | Path,
        attribute: Attribute = "overall",
        split: OfficialSplit = "scene",
        labels: str | Path | None = None,
        check_files: bool = True,
        also: Sequence[Attribute] = (),
    ) -> None:
        for argument, value, choices in (("attribute", attribute, Attribute), ("split", split, OfficialSplit)):
            require_choice("PIQ23", argument, value, get_args(choices))
        for other in also:
            require_choice("PIQ23", "attribute in `also`", other, get_args(Attribute))
        if attribute in also or len(set(also)) < len(also):
            raise InputError(f"PIQ23: `also` repeats an attribute: {attribute} and {', '.join(also)}; name each once")
        self.root, self.labels = Path(root), None if labels is None else Path(labels)
        self._attribute, self.split, self.check_files = attribute, split, check_files
        self.also = tuple(also)

    @property
    def name(self) -> str:
        """The dataset, its attribute and its split."""
        return f"PIQ23 {self.attribute}, {self.split} split"

    @property
    def attribute(self) -> Attribute:
        """What was judged: overall, details or exposure."""
        return self._attribute

    @property
    def official_split(self) -> OfficialSplit:
        """The official split: scene or device."""
        return self.split

    @property
    def centred_score(self) -> float:
        """The mean JOD of every scene."""
        return 0.0

    def rival_scores(self) -> dict[str, "pd.Series[float]"]:
        """Load the JODs of the other attributes whose labels are there."""
        found = {}
        for attribute in get_args(Attribute):
            if attribute != self.attribute:
                with suppress(InputError):
                    other = PIQ23(self.root, attribute, self.split, self.labels, check_files=False)
                    found[f"{attribute.title()} JOD"] = other.load().set_index("image")["score"]
        return found

    def load(self) -> pd.DataFrame:
        """Read the scores, join the official split and the devices, and check."""
        source, scores = self._scores(self.attribute)
        frame = pd.DataFrame({name: scores[theirs] for name, theirs in SCORE_COLUMNS.items()})
        frame["path"] = image_paths(self.root / self.attribute.title(), frame["image"].tolist())
        frame["split"] = self._official_split(scores, source)
        metadata = self._find("Image Metadata.csv", "Metadata")
        if metadata is not None:
            frame["device"] = frame["image"].map(_look_up(self._read(metadata, "Image", "Device"), metadata))
        for other in self.also:
            file, theirs = self._scores(other)
            for kind in ("score", "score_std"):
                values = _look_up(theirs[["IMAGE", SCORE_COLUMNS[kind]]], file)
                frame[f"{kind}.{other}"] = frame["image"].map(values)
        return validate(frame, source, rows=frame.index.tolist(), check_files=self.check_files)

    def _scores(self, attribute: Attribute) -> tuple[Path, pd.DataFrame]:
        """Return the file of an attribute's scores, and what is in it."""
        file_name = f"Scores_{attribute.title()}.csv"
        source = self._find(file_name)
        if source is None:
            raise self._not_found(file_name, "it comes with the images; check `root` or `labels`")
        scores = self._read(source, *SCORE_COLUMNS.values(), "ATTRIBUTE")
        others = scores.loc[scores["ATTRIBUTE"] != attribute.title(), "ATTRIBUTE"]
        if len(others):
            raise InputError(
                f"row {others.index[0]} of {source} is about {others.iloc[0]!r}, not {attribute.title()!r}; "
                "restore the dataset's own file"
            )
        return source, scores

    def _official_split(self, scores: pd.DataFrame, source: Path) -> "pd.Series[str]":
        """Return the official split of every row, by exact name: Indoor_Scene_1 is not part of Indoor_Scene_12."""
        file, pairs = self._split_list()
        key = pairs.columns[0]
        split = scores[key].map(_look_up(pairs, file))
        unknown = scores.loc[~split.isin(("Train", "Test")), key].unique()
        if len(unknown):
            raise InputError(
                f"{file} says neither Train nor Test of {len(unknown)} {key.lower()}(s) in {source}, such as "
                f"{unknown[0]}; restore both files as they are in the dataset and in the repository {REPOSITORY}"
            )
        return split

    def _split_list(self) -> tuple[Path, pd.DataFrame]:
        """Return where the split is listed, and its two columns: SCENE or IMAGE, and SPLIT."""
        title = self.split.title()
        file = self._find(f"{title} Split.csv", "Test split")
        if file is not None:
            return file, self._read(file, "SCENE" if self.split == "scene" else "IMAGE", "SPLIT")
        ready_made = [f"{title}Split_{part}_Scores_{self.attribute.title()}.csv" for part in ("Train", "Test")]
        files = [file for name in ready_made if (file := self._find(name, f"Test split/{title} Split")) is not None]
        if len(files) < len(ready_made):
            raise self._not_found(f"{title} Split.csv", f"it is in the GitHub repository {REPOSITORY}", "Test split")
        return files[0].parent, pd.concat([self._read(file, "IMAGE", "SPLIT") for file in files])

    def _places(self, subfolder: str) -> list[Path]:
        """Return every folder in which a CSV file is looked for, the user's own first."""
        bases = [self.root] if self.labels is None else [self.labels, self.root]
        bases += [parent / name for base in bases for parent in (base, base.parent) for name in CHECKOUTS]
        return [folder for base in bases for folder in dict.fromkeys((base, base / subfolder))]

    def _find(self, file_name: str, subfolder: str = "") -> Path | None:
        return next((place / file_name for place in self._places(subfolder) if (place / file_name).is_file()), None)

    def _not_found(self, file_name: str, mend: str, subfolder: str = "") -> InputError:
        places = ", ".join(str(place) for place in self._places(subfolder))
        return InputError(f"there is no {file_name} for {self.name} (looked in {places}); {mend}")

    def _read(self, file: Path, *columns: str) -> pd.DataFrame:
        labels = read_csv(file, names=columns)
        require_columns(labels, columns, file, "restore the dataset's own file")
        return labels[list(columns)]


def _look_up(pairs: pd.DataFrame, source: Path) -> dict[str, str]:
    """Return a two-column table as a dictionary; its first column must not name anything twice."""
    keys = pairs.iloc[:, 0]
    if keys.duplicated().any():
        raise InputError(f"{source} lists {keys[keys.duplicated()].iloc[0]} more than once; restore the original file")
    return dict(zip(keys, pairs.iloc[:, 1], strict=True))
