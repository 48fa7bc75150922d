"""The moments of a project's photos, and the keeper of each, as `piqa pick` finds them."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from piqa.errors import InputError
from piqa.evaluation.statistics.uncertainty import ScoreUncertainty
from piqa.moments.choosing import Choosing, choose
from piqa.moments.grouping import group
from piqa.moments.measuring import Measured
from piqa.moments.pick import PickedMoment, RankedShot
from piqa.moments.ranking import Ranker
from piqa.scoring.stated_std import STD
from piqa.server.jobs import Running
from piqa.server.photos import PhotoSeen, ScoreSeen
from piqa.server.records import Facts, Photo
from piqa.server.study_moments import shot_of
from piqa.system.phrases import Phrase, changed, packed, unpacked
from piqa.system.progress import without_progress

if TYPE_CHECKING:
    from piqa.server.services import Services

MOMENTS = "moments"  # kind of the job


@dataclass(frozen=True)
class Place:
    """The place of a photo in its moment.

    Attributes:
        moment: Number of the moment, from 1.
        shots: How many photos it has.
        rank: 1 is the best; None where it could not be ranked.
        keeper: Whether it is the one to keep.
        close: Whether the first two of the moment are too close to call.
        probability: That the first of the moment is better than this one; None where it is not known.
        reason: Why, in words.
    """

    moment: int
    shots: int
    rank: int | None
    keeper: bool
    close: bool
    probability: float | None
    reason: str


class MomentsJob:
    """Finds the moments of a project, and ranks the photos of each, by a model's scores or by factors alone.

    Args:
        services: Of the server.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    def __call__(self, job: Running) -> Facts:
        """Return the places of the photos as JSON, for `places`.

        Raises:
            InputError: If no original is kept.
        """
        assert job.project is not None
        model = job.arguments.get("model")
        seen = {photo.id: photo for photo in self._services.photos.all(job.project) if photo.facts is not None}
        files = self._files(job.project, seen)
        if not files:
            raise InputError(Phrase("moments are found in the files of photos, and this project keeps none of them"))
        job.tell(0, len(files))
        with without_progress():
            moments = group([shot_of(file, photo) for file, photo in files.items()])
        job.check()
        ranker = self._ranker({file: seen[photo.id] for file, photo in files.items()}, model)
        picked = choose([ranker.rank(moment) for moment in moments], Choosing(), by_model=model is not None)
        job.tell(len(files))
        return {"model": model, "moments": [_kept(one, files) for one in picked], "left_out": len(seen) - len(files)}

    def _files(self, project: str, seen: Mapping[str, PhotoSeen]) -> dict[str, Photo]:
        """Return the measured photos whose file is there, by the file."""
        with self._services.database.session() as session:
            photos = list(session.scalars(select(Photo).where(Photo.project_id == project).order_by(Photo.name)))
        root = self._services.settings.root
        found = {photo: self._services.storage.original(photo, root) for photo in photos if photo.id in seen}
        return {str(file): photo for photo, file in found.items() if file is not None and file.is_file()}

    def _ranker(self, photos: Mapping[str, PhotoSeen], model: str | None) -> Ranker:
        def measured(file: str) -> Measured:
            facts = photos[file].facts
            assert facts is not None
            box, points = facts.face_box, facts.face_points
            others = facts.other_faces
            return Measured(None, facts.width, facts.height, box, points, others, facts.read())

        if model is None:
            return Ranker(measured)
        chosen = self._services.models[model]
        said = {file: photo.scores.get(model) for file, photo in photos.items()}
        known: dict[str, ScoreSeen] = {file: one for file, one in said.items() if one and one.score is not None}
        scores = {file: float(one.score or 0) for file, one in known.items()}
        stds = {file: float(one.outputs[STD]) for file, one in known.items() if one.outputs.get(STD) is not None}
        faults = {
            file: (one.error or "") if one else Phrase("the model has not scored it yet") for file, one in said.items()
        }
        uncertainty = ScoreUncertainty.from_dict(chosen.queue.scorer.card.uncertainty)
        return Ranker(measured, scores, faults, chosen.preference, stds=stds, uncertainty=uncertainty)


def places(result: Mapping[str, Any], photos: Container[str]) -> dict[str, Place]:
    """Return the place of each of these photos that has one, by their names in addresses, as the job returned it."""
    found = {}
    for number, moment in enumerate(result.get("moments", []), start=1):
        for shot in (one for one in moment["shots"] if one["photo"] in photos):
            own = {name: unpacked(value) for name, value in shot.items() if name != "photo"}
            found[shot["photo"]] = Place(number, len(moment["shots"]), close=moment["close"], **own)
    return found


def _kept(moment: PickedMoment, files: Mapping[str, Photo]) -> Facts:
    shots = [
        {
            "photo": files[shot.shot.file].id,
            "rank": shot.rank,
            "keeper": shot.pick,
            "probability": shot.behind_first,
            "reason": packed(_named(shot, files[shot.shot.file].name)),
        }
        for shot in moment.ranked
    ]
    return {"close": moment.close, "shots": shots}


def _named(shot: RankedShot, name: str) -> str:
    """Return why a shot has its place, in which its file is called by its name."""
    return changed(shot.reason, lambda text: text.replace(shot.shot.file, name))
