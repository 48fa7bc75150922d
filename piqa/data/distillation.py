"""The data of a student: scored images of a table, and pictures without scores, all of them scored by a teacher."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from lightning.pytorch.utilities import rank_zero_warn

from piqa.data.datamodule import PortraitData
from piqa.data.tables.splits import hold_out_scenes
from piqa.data.tables.table import Table
from piqa.errors import InputError
from piqa.system.csv_text import listed
from piqa.system.files import replacing

TEACHER_SCORE = "teacher_score"
LABELLED = "labelled"  # whether a row's score is a person's
PICTURES = "pictures"  # what the scenes of pictures begin with beside a table
LABELS = ["image", "score", "scene", "split"]


class TeacherScores(Protocol):
    """A teacher's scores of images, made once and kept: `piqa.scoring.kept_scores.KeptScores`."""

    def make(self, paths: Iterable[str], workers: int | None = None) -> str:
        """Score the images that have no score yet; return the counts in words."""

    def of(self, paths: Sequence[str]) -> dict[str, float]:
        """Return the kept scores of images by path."""


class PictureFolders(Table):
    """Pictures below a folder: those of one folder are a scene. Their score is the teacher's, which is not known yet.

    A folder with a single picture is left out, as nothing in it can be compared.

    Args:
        root: The folder.
        test_fraction: Fraction of the scenes held out for the test: how well the student agrees with the teacher.
        seed: Seed of the draw of those scenes.

    Attributes:
        find: Returns the images below folders, as `piqa.scoring.file_list.expand`; set before they are looked up.

    Raises:
        InputError: If `test_fraction` is not in [0, 1).
    """

    find: Callable[[Sequence[str]], list[str]]

    def __init__(self, root: str | Path, test_fraction: float = 0.0, seed: int = 0) -> None:
        self.root, self._test_fraction, self._seed = Path(root), test_fraction, seed
        if not 0 <= test_fraction < 1:
            raise InputError(f"`data.test_fraction` must be at least 0 and below 1, not {test_fraction}")

    @property
    def name(self) -> str:
        """The folder."""
        return f"pictures below {self.root}, scores of the teacher"

    def load(self) -> pd.DataFrame:
        """Look the pictures up; `score` is NaN.

        Raises:
            InputError: If there is no such folder, or it has no two pictures of one scene.
        """
        if not self.root.is_dir():
            raise InputError(f"there is no folder {self.root}; name one with pictures by `--pictures`")
        paths = self.find([str(self.root)])
        images = [Path(path).relative_to(self.root).as_posix() for path in paths]
        frame = pd.DataFrame({"image": images, "path": paths})
        frame["score"], frame["split"] = np.nan, "train"
        frame["scene"] = [Path(image).parent.as_posix() for image in images]
        alone = ~frame.duplicated("scene", keep=False)
        if alone.any():
            shown = listed(frame.loc[alone, "image"].tolist())
            rank_zero_warn(f"{alone.sum()} pictures are alone in their folder and are left out: {shown}")
        frame = frame[~alone].reset_index(drop=True)
        if frame.empty:
            raise InputError(f"{self.root} has no folder with two pictures, which could be compared")
        if not self._test_fraction:
            return frame
        return self.hold_out(frame, self._test_fraction, self._seed, "test")

    def hold_out(self, frame: pd.DataFrame, fraction: float, seed: int, target: str) -> pd.DataFrame:
        """Return the table with whole folders moved from training to another split, as `hold_out_scenes`.

        Raises:
            InputError: If training has a single folder.
        """
        if frame.loc[frame["split"] == "train", "scene"].nunique() < 2:
            raise InputError(
                f"{self.root} has too few folders with two pictures or more ({frame['scene'].nunique()}): those that "
                "train, validate and test must be others; divide the pictures into three folders or more, a scene "
                "each, or name scored images (`data.table`)"
            )
        return hold_out_scenes(frame, fraction, seed, target)


class DistillationData(PortraitData):
    """Images for a student: each of those that train has a teacher's score, and those of a table a person's as well.

    Args:
        table: Scored images; they validate and test the student. None where there are pictures alone.
        pictures: Folder of pictures without scores; those of one folder are a scene, and compared within it only.
            Beside a table they train only. Alone, scenes are held out for validation and test, which then tell how well
            the student agrees with the teacher.
        test_fraction: Fraction of the scenes of pictures alone that is held out for the test.
        **others: As of `PortraitData`.

    Raises:
        InputError: If there is neither a table nor a folder, or the settings do not go together.
    """

    teacher: TeacherScores | None = None  # set before anything is prepared

    def __init__(
        self, table: Table | None = None, pictures: str | None = None, test_fraction: float = 0.15, **others: Any
    ) -> None:
        if table is None and pictures is None:
            raise InputError("there is nothing to learn from; name a folder by `--pictures`, or a `data.table`")
        seed = int(others.get("seed", 0))
        unscored = None if pictures is None else PictureFolders(pictures, 0 if table else test_fraction, seed)
        self.unscored, self.scored = unscored, table
        own = table or unscored
        assert own is not None
        super().__init__(own, **others)
        if self.clip is not None:
            raise InputError("a student learns from images, not from videos; leave `data.clip` out")

    @cached_property
    def _frame(self) -> pd.DataFrame:
        scored = None if self.scored is None else self.scored.load().assign(**{LABELLED: True})
        if self.unscored is None:
            assert scored is not None
            return scored
        unscored = self.unscored.load().assign(**{LABELLED: False})
        if scored is None:
            return unscored
        own = {str(Path(path).resolve()) for path in scored["path"]}
        unscored = _comparable(unscored[unscored["path"].map(lambda path: str(Path(path).resolve()) not in own)])
        named = {"image": f"{PICTURES}/" + unscored["image"], "scene": f"{PICTURES}/" + unscored["scene"]}
        both = pd.concat([scored, unscored.assign(**named)], ignore_index=True)
        texts = [name for name in scored if scored[name].dtype == object and name not in unscored]
        return both.fillna(dict.fromkeys(texts, ""))

    def _assigned(self, choosing: bool) -> pd.DataFrame:
        """Return the table; validation scenes are held out of the scored images, where there are any."""
        frame = self._frame
        if not choosing or "val" in set(frame["split"]):
            return frame
        if self.scored is None:
            assert self.unscored is not None
            return self.unscored.hold_out(frame, self.validation_fraction, self.seed, "val")
        own = frame[LABELLED]
        chosen = hold_out_scenes(frame[own], self.validation_fraction, self.seed)
        return pd.concat([chosen, frame[~own]], ignore_index=True)

    def prepare_data(self, verify: bool = False) -> None:
        """Prepare the images for the student, and let the teacher score them, each with its own preparation."""
        if self.splits:
            return
        super().prepare_data(verify)
        assert self.teacher is not None
        print(self.teacher.make(self._taught()["path"], self.store.workers))

    def _taught(self) -> pd.DataFrame:
        """Return the rows that the teacher scores: all pictures, and of a table what is not for its test."""
        frame = self._frame
        return frame[~frame[LABELLED] | (frame["split"] != "test")]

    @cached_property
    def _teacher_scores(self) -> Mapping[str, float]:
        assert self.teacher is not None
        return self.teacher.of(self._taught()["path"].tolist())

    def _split(self, choosing: bool) -> None:
        taught = set(self._taught()["path"])
        super()._split(choosing)
        self._leave_out_copies()
        before = sum(map(len, self.splits.values()))
        for name, frame in self.splits.items():
            there = frame["path"].isin(self._teacher_scores.keys()) | ~frame["path"].isin(taught)
            own = frame[there]
            score = own["path"].map(self._teacher_scores).astype(float)
            own = own.assign(**{TEACHER_SCORE: score})
            if self.scored is None:
                own["score"] = score
            self.splits[name] = _comparable(own) if name == "train" or self.scored is None else own
        self.left_out["without_teacher_score"] = before - sum(map(len, self.splits.values()))

    def _leave_out_copies(self) -> None:
        """Leave out pictures that show the same, by content, as an image of the table, which may be one of its test."""
        if self.scored is None or self.unscored is None:
            return
        of_table = {self._entry(path) for path in self._frame.loc[self._frame[LABELLED], "path"]}
        train = self.splits["train"]
        copies = ~train[LABELLED] & train["path"].map(lambda path: self._entry(path) in of_table)
        self.left_out["copies_of_the_table"] = int(copies.sum())
        if copies.any():
            rank_zero_warn(f"{copies.sum()} of the pictures are copies of images of the table and are left out")
            self.splits["train"] = _comparable(train[~copies])

    def _entry(self, path: str) -> str:
        try:
            return self._prepared.entry(path).stem
        except InputError:  # it cannot be read, and is left out for that
            return path

    def write_labels(self, folder: Path) -> Path | None:
        """Write the teacher's scores as a table of its own, where there is no other; return its path."""
        if self.scored is not None:
            return None
        with replacing(folder / "labels.csv") as temporary:
            pd.concat(list(self.splits.values()))[LABELS].to_csv(temporary, index=False)
        return folder / "labels.csv"


def _comparable(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that are not alone in their scene."""
    return frame[frame.duplicated("scene", keep=False)]
