"""Answers of studies in memory: all are read once, and later those that are new.

What is in memory is compared with the database at each reading, as another server may have saved or undone answers
there. Each change of a rater's answers counts the rater's `version` up; the answers of a rater are a stack, whose last
one, by its place and its question, tells whether all below it are known. Answers that went with a photo are left out
by their image. Nothing that a transaction has not committed gets into the memory of the others.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from sqlalchemy import ColumnElement, Engine, and_, event, or_, select
from sqlalchemy.orm import Session

from piqa.judgement.answered import CompactAnswers
from piqa.server.studies import StudyContent
from piqa.server.study_records import Answer, Rater

MOST = 2_000_000  # answers, and images, that are kept of all studies of a database; one takes 11 bytes, the other 250
AT_ONCE = 100  # raters whose new answers are read by one statement
OWN = "answers of studies"  # in `Session.info`: what this transaction has read
COLUMNS = (Answer.image_a, Answer.image_b, Answer.kind, Answer.left, Answer.winner)


@dataclass(frozen=True)
class _Kept:
    """What is known of a study.

    Attributes:
        answers: All of them.
        versions: Of each rater, when the answers were read.
        last: Place and question of the last answer of each rater who gave one.
    """

    answers: CompactAnswers
    versions: Mapping[str, int] = field(default_factory=dict)
    last: Mapping[str, tuple[int, str]] = field(default_factory=dict)


class _Memory:
    """What is known of the studies of a database, those that were asked last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._studies: OrderedDict[str, _Kept] = OrderedDict()

    def get(self, study: str) -> _Kept | None:
        with self._lock:
            return self._studies.get(study)

    def keep(self, study: str, kept: _Kept) -> None:
        with self._lock:
            self._studies[study] = kept
            self._studies.move_to_end(study)
            while len(self._studies) > 1 and sum(map(_size, self._studies.values())) > MOST:
                self._studies.popitem(last=False)


_memories: WeakKeyDictionary[Engine, _Memory] = WeakKeyDictionary()
_lock = threading.Lock()


def known_answers(session: Session, content: StudyContent) -> CompactAnswers:
    """Return all answers of a study, with the ids of images and raters; only new ones are read from the database."""
    memory, own = _memory_of(session), _own(session)
    study = content.study.id
    before = own.get(study) or memory.get(study)
    if before is None or not content.images.keys() <= before.answers.numbers.keys():
        before = _Kept(CompactAnswers.of({one.id: one.scene for one in content.images.values()}))
    if study not in own:
        event.listen(session, "after_commit", lambda _: memory.keep(study, own[study]), once=True)
    own[study] = _read_on(session, study, before)
    return own[study].answers.among(content.images)


def _memory_of(session: Session) -> _Memory:
    engine = session.get_bind()
    assert isinstance(engine, Engine)  # as of `Database`
    with _lock:
        return _memories.setdefault(engine, _Memory())


def _own(session: Session) -> dict[str, _Kept]:
    """Return what this transaction knows, by study."""
    known: dict[str, _Kept] = session.info.setdefault(OWN, {})
    return known


def _size(kept: _Kept) -> int:
    return len(kept.answers) + len(kept.answers.images)


def _read_on(session: Session, study: str, kept: _Kept) -> _Kept:
    """Return what is known after the answers of those raters were read whose version has changed."""
    # Versions first: an answer that is saved between the two statements is read again, and then found to be known.
    known_raters = session.execute(select(Rater.id, Rater.version).where(Rater.study_id == study))
    versions = {rater: version for rater, version in known_raters}
    changed = [rater for rater, version in versions.items() if kept.versions.get(rater) != version]
    last = {rater: kept.last[rater] for rater in versions if rater in kept.last}
    answers = {rater: codes for rater, codes in kept.answers.raters.items() if rater in versions}
    since = {rater: last[rater][0] if rater in last else 0 for rater in changed}
    found = _rows_since(session, since) if kept.versions else _rows(session, Answer.study_id == study)
    undone = {rater for rater in last.keys() & changed if _place(found[rater][:1]) != last[rater]}
    found |= _rows_since(session, dict.fromkeys(undone, 0))
    for rater in changed:
        known = rater in last and rater not in undone
        rows = found[rater][1:] if known else found[rater]
        codes = kept.answers.codes((row[3], row[4], row[5], row[6], row[7]) for row in rows)
        answers[rater] = np.concatenate([answers[rater], codes]) if known else codes
        if not known:
            last.pop(rater, None)
        if (place := _place(rows[-1:])) is not None:
            last[rater] = place
    return _Kept(kept.answers.with_raters(answers), versions, last)


def _place(rows: list[Any]) -> tuple[int, str] | None:
    """Return number and question of one answer; None of no answer."""
    return (rows[0][1], rows[0][2]) if rows else None


def _rows_since(session: Session, since: Mapping[str, int]) -> dict[str, list[Any]]:
    """Return the answers of raters from a number on, as of `_rows`; all have an entry."""
    found: dict[str, list[Any]] = defaultdict(list, {rater: [] for rater in since})
    wanted = [and_(Answer.rater_id == rater, Answer.number >= number) for rater, number in since.items()]
    for at in range(0, len(wanted), AT_ONCE):
        found |= _rows(session, or_(*wanted[at : at + AT_ONCE]))
    return found


def _rows(session: Session, which: ColumnElement[bool]) -> dict[str, list[Any]]:
    """Return the answers of each rater in their order: rater, number, question, and `COLUMNS`."""
    found: dict[str, list[Any]] = defaultdict(list)
    for row in session.execute(select(Answer.rater_id, Answer.number, Answer.question, *COLUMNS).where(which)):
        found[row[0]].append(row)
    for rows in found.values():
        rows.sort(key=lambda row: row[1])
    return found
