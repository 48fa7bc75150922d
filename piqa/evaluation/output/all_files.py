"""Everything that an evaluation writes: the leaderboard, the reports, and the same of every attribute."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd

from piqa.evaluation.attributes import OVERALL, attribute_candidates, attribute_table, partial_srocc, rival_candidates
from piqa.evaluation.inputs import CandidateTable, naive_candidates
from piqa.evaluation.leaderboard.build import LeaderboardOptions, build_leaderboard
from piqa.evaluation.leaderboard.entries import Candidate
from piqa.evaluation.leaderboard.facts import Subject
from piqa.evaluation.leaderboard.leaderboard import Leaderboard, without_places
from piqa.evaluation.leaderboard.published import published_entries
from piqa.evaluation.output.attributes import attributes_frame, write_attributes
from piqa.evaluation.output.page import write_page
from piqa.evaluation.output.tables import write_tables
from piqa.evaluation.report import BY_ATTRIBUTE, Report, ReportFacts, write_report

SafeTables = Literal["board", "all", "none"]
Rivals = Mapping[str, "pd.Series[float]"]
TRUTH = ("image", "scene", "score", "score_std", "condition", "device", "path")


@dataclass(frozen=True)
class Written:
    """A leaderboard, the report of each candidate by name, and the files of the leaderboard."""

    board: Leaderboard
    reports: dict[str, Report]
    files: list[Path]


@dataclass(frozen=True)
class Results:
    """What is evaluated, and how results are computed and written.

    Args:
        labels: The whole table of labels; None where the CSVs have them.
        models: Paths of the candidates that are models, by name.
        options: How leaderboards are computed.
        spreadsheet_safe: As of `piqa.evaluate.evaluate`.
        preference: Likewise.
        centred: The mean score of every scene, where the table's scores are centred by definition.
    """

    labels: pd.DataFrame | None
    models: Mapping[str, str]
    options: LeaderboardOptions
    spreadsheet_safe: SafeTables = "board"
    preference: bool = True
    centred: float | None = None

    def write(
        self,
        tables: Sequence[CandidateTable],
        subject: Subject,
        folder: Path,
        rivals: Rivals | None = None,
        naive: Sequence[Candidate] = (),
    ) -> Written:
        """Compare candidates, and write the leaderboard and the reports.

        Args:
            tables: The candidates.
            subject: What is evaluated.
            folder: Where to; made if it does not exist.
            rivals: Other scores of the same images by name, to be compared as predictions.
            naive: More candidates that a model must beat.
        """
        board = without_places(self._compare(tables, subject, rivals, naive))
        reports = self._write_reports(tables, subject, folder)
        files = [*write_tables(board, folder, spreadsheet_safe=self.spreadsheet_safe != "none").values()]
        files.append(write_page(board, folder / "leaderboard.html"))
        return Written(board, reports, files)

    def write_attributes(
        self,
        tables: Sequence[CandidateTable],
        attributes: Sequence[str],
        subject: Subject,
        folder: Path,
        overall: Leaderboard,
    ) -> tuple[pd.DataFrame, list[Path]] | None:
        """Do the same for every attribute that a candidate predicts, and write a table of all; None without any.

        Published values are not among them: they are of other images, those that each attribute was judged on.
        """
        name = subject.attribute or OVERALL
        boards = {name: overall}
        partial: dict[tuple[str, str], float] = {}
        for attribute in attributes:
            own = attribute_candidates(tables, attribute)
            if self.labels is None or not own or all(one.frame.empty for one in own):
                continue  # nobody predicts it, or no image to be evaluated has it
            others = {name: "score"} | {other: f"score.{other}" for other in attributes if other != attribute}
            by_image = self.labels.set_index("image")
            rivals = {f"{other} score": by_image[column].dropna() for other, column in others.items()}
            about = replace(subject, attribute=attribute, official_split=None)
            of_attribute = replace(self, labels=attribute_table(self.labels, attribute))
            place = folder / BY_ATTRIBUTE / attribute
            boards[attribute] = of_attribute.write(own, about, place, rivals, rival_candidates(tables, attribute)).board
            frames = {one.candidate.name: one.frame for one in tables}
            partial |= {
                (attribute, one.candidate.name): partial_srocc(frames[one.candidate.name], attribute) for one in own
            }
        if len(boards) == 1:
            return None
        frame = attributes_frame(boards, partial)
        return frame, write_attributes(frame, folder, spreadsheet_safe=self.spreadsheet_safe != "none")

    def _write_reports(self, tables: Sequence[CandidateTable], subject: Subject, folder: Path) -> dict[str, Report]:
        """Write the report of every candidate, in folders of their own where there are several."""
        reports = {}
        for one in tables:
            name, source = one.candidate.name, one.candidate.source
            own = folder if len(tables) == 1 else folder / folder_name(name)
            told: dict[str, object] = (
                {"checkpoint": source} if name in self.models else {"predictions": source, "test_crops": None}
            )
            if licence := one.frame.attrs.get("licence"):
                told |= {"more": {"licence": licence}}
            told |= {"selected_on": one.candidate.selected_on, "official_split": None}
            reports[name] = write_report(
                one.frame,
                own,
                ReportFacts(**vars(subject) | told),
                spreadsheet_safe=self.spreadsheet_safe == "all",
                preference=self.preference,
            )
        return reports

    def _compare(
        self, tables: Sequence[CandidateTable], subject: Subject, rivals: Rivals | None, naive: Sequence[Candidate]
    ) -> Leaderboard:
        """Build the leaderboard of the candidates, the naive rules and the published results."""
        labels = self.labels
        truth = tables[0].frame if labels is None or subject.split is None else _part(labels, subject.split)
        truth = truth[[name for name in TRUTH if name in truth]]
        training = None if labels is None or subject.split == "train" else _part(labels, "train")
        rules = [*naive_candidates(truth, training, rivals, self.centred), *naive]
        published = published_entries(subject.attribute, subject.official_split)
        return build_leaderboard(
            truth,
            [*rules, *(one.candidate for one in tables)],
            training=training,
            published=published,
            subject=subject,
            options=self.options,
        )


def folder_name(name: str) -> str:
    """Return the name of the folder of a candidate's report.

    Examples:
        >>> folder_name("their model")
        'their_model'
    """
    return re.sub(r"[^\w-]", "_", name)


def _part(frame: pd.DataFrame, split: str) -> pd.DataFrame:
    return frame[frame["split"] == split].reset_index(drop=True)
