"""What a rater does: sees a question, answers it, takes an answer back, goes on after a break.

The questions to come are kept with the rater, so that a page that is opened again shows the same one. Each change is
one transaction, committed before the rater is told; a change that another request has overtaken is tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from piqa.judgement.answered import OneAnswer
from piqa.judgement.answers import SAME
from piqa.judgement.session import (
    EndStep,
    PairStep,
    RatingStep,
    feedback,
    next_step,
    step_again,
)
from piqa.server.answer_memory import known_answers
from piqa.server.database import Database
from piqa.server.records import new_id, now
from piqa.server.refusals import RequestError, not_found
from piqa.server.studies import StudyContent, faces_of, read_study
from piqa.server.study_records import Answer, Rater
from piqa.system.phrases import Phrase

TRIES = 10
AHEAD = 2  # questions that are known: the one that is shown, and the one whose images are loaded meanwhile
NO_BREAKS = 2**31  # breaks are counted here, as questions are drawn ahead of them
Result = TypeVar("Result")
Reply = dict[str, Any]


class GivenAnswer(BaseModel):
    """An answer as a rater's page sends it."""

    model_config = ConfigDict(extra="forbid")
    question: str = Field(max_length=64)
    choice: str = Field(max_length=8, description="left, right or same; 1 to 5 for a rating")
    seconds: float = Field(ge=0, le=86_400, allow_inf_nan=False)
    window: tuple[int, int] = Field(default=(0, 0))
    pixel_ratio: float = Field(default=1.0, gt=0, le=100, allow_inf_nan=False)
    zoom: float | None = Field(default=None, ge=0, le=10_000, allow_inf_nan=False)


class Conditions(BaseModel):
    """What a rater tells of the room and the screen."""

    model_config = ConfigDict(extra="forbid")
    light: str | None = Field(default=None, pattern="^(dark|dim|bright)$")
    distance: float | None = Field(default=None, ge=1, le=1000, description="cm")
    screen: tuple[int, int] | None = None


def change(database: Database, link: str, act: Callable[[Session, Rater, StudyContent], Result]) -> Result:
    """Let a rater do something in one transaction; return what it gives.

    Raises:
        RequestError: If the link is unknown, or other requests of the same link came in between again and again.
    """
    for _ in range(TRIES):
        try:
            with database.session() as session:
                rater = session.scalar(select(Rater).where(Rater.link == link).with_for_update())
                if rater is None:
                    raise not_found("link")
                rater.seen = now()
                return act(session, rater, read_study(session, rater.study_id))
        except (StaleDataError, IntegrityError):
            continue
    raise RequestError(503, Phrase("many requests of one link came at once; try again"), retry_after=1)


def state(session: Session, rater: Rater, content: StudyContent) -> Reply:
    """Return what the rater's page shows now."""
    _look_ahead(session, rater, content)
    answered, trained = _counts(session, rater, content)
    queue, training = rater.state["queue"], len(content.settings.training)
    reply: Reply = {
        "answers": answered + trained,
        "progress": {"done": answered, "of": queue[0]["of"] if queue else answered},
        "question": None,
        "next": [],
    }
    if not queue:
        return {**reply, "phase": "done"}
    if not rater.state["begun"]:
        return {**reply, "phase": "begin"}
    if _breaks_due(content, answered) > rater.state["breaks"]:
        return {**reply, "phase": "break"}
    shown = [_sides(question) for question in queue]
    faces = faces_of(session, [content.images[image] for image in shown[0]])
    images = [{"address": _address(rater, image), "face": faces.get(image)} for image in shown[0]]
    number = {"number": trained + 1, "of": training} if queue[0]["kind"] == "training" else None
    question = {"id": queue[0]["id"], "training": number, "images": images}
    return {
        **reply,
        "phase": "question",
        "question": question,
        "next": [_address(rater, image) for sides in shown[1:] for image in sides],
    }


def begin(session: Session, rater: Rater, content: StudyContent, conditions: Conditions) -> Reply:
    """Note what the rater tells of the room, and show the first question."""
    _look_ahead(session, rater, content)
    rater.conditions = conditions.model_dump(exclude_none=True)
    rater.state = {**rater.state, "begun": True}
    return {"state": state(session, rater, content)}


def go_on(session: Session, rater: Rater, content: StudyContent) -> Reply:
    """End a break."""
    _look_ahead(session, rater, content)
    due = _breaks_due(content, _counts(session, rater, content)[0])
    rater.state = {**rater.state, "breaks": max(due, rater.state["breaks"])}
    return {"state": state(session, rater, content)}


def answer(session: Session, rater: Rater, content: StudyContent, given: GivenAnswer) -> Reply:
    """Save an answer. `counted` is False where another one to the same question, or another question, came before.

    Raises:
        RequestError: If the choice is none that the study allows.
    """
    _look_ahead(session, rater, content)
    queue = rater.state["queue"]
    if not queue or queue[0]["id"] != given.question:
        before = session.scalar(select(Answer).where(Answer.question == given.question, Answer.rater_id == rater.id))
        again = before is not None and _choice_of(before) == given.choice and before.seconds == given.seconds
        return {"state": state(session, rater, content), "counted": again, "feedback": None}
    question = queue[0]
    chosen = _chosen(content, question, given.choice)
    last = session.scalar(select(func.max(Answer.number)).where(Answer.rater_id == rater.id))
    session.add(
        Answer(
            study_id=rater.study_id,
            rater_id=rater.id,
            question=given.question,
            number=0 if last is None else last + 1,
            kind=question["kind"],
            image_a=question.get("image_a") or question["image"],
            image_b=question.get("image_b"),
            left=question.get("left"),
            expected=str(question["expected"]) if question["expected"] not in (None, "") else None,
            winner=chosen if isinstance(chosen, str) else None,
            rating=chosen if isinstance(chosen, int) else None,
            seconds=given.seconds,
            window_width=min(max(given.window[0], 0), 100_000),
            window_height=min(max(given.window[1], 0), 100_000),
            pixel_ratio=given.pixel_ratio,
            zoom=given.zoom,
        )
    )
    session.flush()
    rater.state = {**rater.state, "queue": queue[1:]}
    told = None
    if question["kind"] == "training":
        found = feedback(_step(question), chosen)
        told = {"right": found.right, "words": found.words}
    return {"state": state(session, rater, content), "counted": True, "feedback": told}


def undo(session: Session, rater: Rater, content: StudyContent, answers: int) -> Reply:
    """Take back the last answer, if there are as many as the rater's page knows of, and show its question again."""
    _look_ahead(session, rater, content)
    last = session.scalar(select(Answer).where(Answer.rater_id == rater.id).order_by(Answer.number.desc()).limit(1))
    if last is None or sum(_counts(session, rater, content)) != answers:
        return {"state": state(session, rater, content), "undone": False}
    question = {name: getattr(last, name) for name in ("kind", "left", "image_a", "image_b", "expected")}
    removed = question | {"rater": rater.id, "scene": content.images[last.image_a].scene, "image": last.image_a}
    given = known_answers(session, content).without_last(rater.id)
    again = step_again(content.settings, content.scenes, given, removed | {"expected": last.expected or ""})
    session.delete(last)
    session.flush()
    rater.state = {**rater.state, "queue": [_question(again), *rater.state["queue"]][:AHEAD]}
    return {"state": state(session, rater, content), "undone": True}


def _look_ahead(session: Session, rater: Rater, content: StudyContent) -> None:
    """Draw questions until enough are known; a question that waits counts as answered meanwhile, by "same"."""
    known: dict[str, Any] = {"queue": [], "breaks": 0, "begun": False} | rater.state
    # The images of a photo that was deleted are gone.
    seen = {*content.images} - content.unreadable
    queue = [one for one in known["queue"] if {*_sides(one)} <= seen]
    if len(queue) < AHEAD:
        answers = known_answers(session, content)
        shown = _on_other_screens(session, rater)
        while len(queue) < AHEAD:
            waiting = answers.plus(rater.id, map(_as_answer, queue))
            step = next_step(content.settings, content.scenes, waiting, rater.id, NO_BREAKS, shown)
            if isinstance(step, EndStep):
                break
            assert isinstance(step, PairStep | RatingStep)
            queue.append(_question(step))
    if rater.state != (now_known := {**known, "queue": queue}):
        rater.state = now_known


def _as_answer(question: Mapping[str, Any]) -> OneAnswer:
    if "image" in question:
        return question["image"], None, question["kind"], None, None
    return question["image_a"], question["image_b"], question["kind"], question["left"], SAME


def _on_other_screens(session: Session, rater: Rater) -> set[tuple[str, str, str]]:
    others = select(Rater.state).where(Rater.study_id == rater.study_id, Rater.id != rater.id)
    queues = [one.get("queue", []) for one in session.scalars(others)]
    return {(one["scene"], one["image_a"], one["image_b"]) for queue in queues for one in queue if "image_a" in one}


def _question(step: PairStep | RatingStep) -> dict[str, Any]:
    return {"id": new_id(), **asdict(step)}


def _step(question: Mapping[str, Any]) -> PairStep | RatingStep:
    values = {name: value for name, value in question.items() if name != "id"}
    return PairStep(**values) if "image_a" in values else RatingStep(**values)


def _sides(question: Mapping[str, Any]) -> list[str]:
    """Return the ids of the images that a question shows, from the left to the right."""
    if "image" in question:
        return [question["image"]]
    pair = [question["image_a"], question["image_b"]]
    return pair if question["left"] == "a" else pair[::-1]


def _chosen(content: StudyContent, question: Mapping[str, Any], choice: str) -> str | int:
    if "image" in question:
        low, high = content.settings.rating_low, content.settings.rating_high
        if choice not in map(str, range(low, high + 1)):
            raise RequestError(
                422,
                Phrase("a rating from {low} to {high} is needed, not {choice!r}", low=low, high=high, choice=choice),
            )
        return int(choice)
    allowed = {"left": question["left"], "right": "b" if question["left"] == "a" else "a"}
    allowed |= {"same": "same"} if content.settings.same_allowed else {}
    if choice not in allowed:
        raise RequestError(
            422, Phrase("an answer is {allowed}, not {choice!r}", allowed=", ".join(allowed), choice=choice)
        )
    return str(allowed[choice])


def _choice_of(answer: Answer) -> str:
    if answer.winner is None:
        return str(answer.rating)
    return "same" if answer.winner == "same" else "left" if answer.winner == answer.left else "right"


def _counts(session: Session, rater: Rater, content: StudyContent) -> tuple[int, int]:
    """Return how many answers a rater has given, without training and in training."""
    return known_answers(session, content).count_of(rater.id)


def _breaks_due(content: StudyContent, answered: int) -> int:
    every = content.settings.break_every
    return answered // every if every else 0


def _address(rater: Rater, image: str) -> str:
    return f"/rate/{rater.link}/images/{image}"
