"""Explain the scores of a model: by its branches, by places, and by the difference to another image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import numpy as np

from piqa.data.cuts import Crops
from piqa.errors import InputError
from piqa.explanation.difference import ScoreDifference, compare_factors
from piqa.explanation.geometry import colour_limit
from piqa.explanation.occlusion import Occlusion, Progress, score_image_map
from piqa.explanation.parts import BRANCHES, GOES_WITH, Parts, PartsScorer
from piqa.explanation.seen_image import Seer
from piqa.explanation.shapley import Names, shapley_shares, values_of_sets
from piqa.factors.maps import ImageMap
from piqa.factors.measure import FactorMeasurer, PortraitFactors
from piqa.scoring.options import check_scoring
from piqa.scoring.pictures import Picture, PictureInMemory
from piqa.scoring.rows import is_finite
from piqa.scoring.scorer import Scorer

MOST_REFERENCES = 256  # of features, which take a pass through the head each
MOST_REFERENCES_SEEN = 8  # of inputs, which take a pass through the whole network for each set of inputs

NO_FACE = "No face was found: the branch of the face sees the whole image, too."
SHARED = "What both the whole image and the face crop show is divided between their shares."
OWN_MAPS = (
    "A map tells of its own branch: what blurring a place of that input takes from the score of the crop, the other "
    "inputs kept as they are. Places that no crop shows have no value."
)
ONE_CROP = "Maps are of the centre crop, the score of all crops."


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """What is kept of an image, to explain others against it: its score and features, and how to find it again.

    Attributes:
        source: Its path, or the image in memory.
        score: As `Scorer.score` gives it.
        parts: Features of each input on the CPU; none of a network whose inputs meet before its head, whose references
            are read again.
        face_found: Whether there is a face.
        turned: Clockwise degrees by which the image was turned because its face lay on its side.
    """

    source: str
    score: float
    parts: Parts = field(repr=False)
    face_found: bool = True
    turned: int = 0


@dataclass(frozen=True, eq=False)
class ScoreExplanation:
    """Why an image has its score.

    Attributes:
        score: As `Scorer.score` gives it.
        reference_score: The mean score of the reference images; None without any.
        shares: What each branch adds to it: they sum to the score less `reference_score`. Empty without references, and
            for a network with one input.
        maps: `score_whole` and `score_face`, over the image turned by `turned`; empty where none were asked for.
        notes: What must be known to read them, in sentences.
        turned: Clockwise degrees by which the image was turned because its face lay on its side.
    """

    score: float
    reference_score: float | None
    shares: Mapping[str, float]
    maps: Mapping[str, ImageMap]
    notes: Sequence[str]
    turned: int = 0

    def maps_turned(self, degrees: int) -> dict[str, ImageMap]:
        """Return the maps over the image as it is when turned clockwise by 0, 90, 180 or 270 degrees from upright."""
        quarters = (self.turned - degrees) // 90  # `rot90` turns the other way
        return {name: replace(one, values=np.rot90(one.values, quarters)) for name, one in self.maps.items()}


class Explainer:
    """Explains the scores of any scorer, on its device and in its precision.

    Args:
        scorer: Whose scores are explained.
        test_crops: As of `Scorer.score`: which crops the score is the mean of.
        map_crops: Crops for which maps are made: `one`, the centre's, or all of `test_crops`, which takes five times as
            long and leaves fewer places without a value.
        batch_size: Blurred windows in one pass through the network.

    Examples:
        >>> explainer = Explainer(Scorer.load("runs/demo"))
        >>> others = [explainer.features("b.jpg")]
        >>> found = explainer.explain("a.jpg", others)
        >>> list(found.maps), found.reference_score == others[0].score
        (['score_whole'], True)
    """

    def __init__(
        self, scorer: Scorer, *, test_crops: Crops = "five", map_crops: Crops = "one", batch_size: int = 8
    ) -> None:
        check_scoring(test_crops, batch_size)
        check_scoring(map_crops)
        self._parts, self._seer = PartsScorer(scorer), Seer(scorer, test_crops)
        self._occlusion = Occlusion(scorer, batch_size)
        self._one_map_crop = map_crops == "one" and test_crops == "five" and scorer.view == "crops"
        self._device, self._inputs = scorer.device, [one for one in scorer.network.inputs if one not in GOES_WITH]
        self._seen = lru_cache(maxsize=1)(self._seer)
        self._reference_inputs = lru_cache(maxsize=MOST_REFERENCES_SEEN)(lambda source: self._seer(source).inputs)

    def features(self, image: Picture) -> ImageFeatures:
        """Return the score of an image, and what is kept of it for the explanation of others.

        Raises:
            FileAccessError: If the machine refuses the file.
            InputError: If it is no image, or its score is no number.
        """
        source = self._seer.label(image)
        seen = self._seen(source)
        parts = self._parts.parts_of(seen.inputs)
        score = self._parts.score(parts)
        if not is_finite(score):
            raise InputError(f"{source}: the network's score is {score}, no number; check the model's weights")
        kept = {name: values.cpu() for name, values in parts.items()} if self._parts.separable else {}
        return ImageFeatures(source, score, kept, seen.face_found, seen.turned)

    def explain(
        self,
        image: Picture | ImageFeatures,
        references: Sequence[ImageFeatures] = (),
        maps: bool = True,
        progress: Progress | None = None,
    ) -> ScoreExplanation:
        """Explain the score of one image.

        Args:
            image: The image, or its `features`, which are then not computed again.
            references: Other images of its scene or folder, whose mean score it is compared with. Of more than 256, or
                of more than 8 where the inputs of the network meet before its head, as many are taken evenly.
            maps: Whether maps are made: 49 passes through the backbone of each branch.
            progress: Is called with the number of windows that are done, and that of all.

        Raises:
            FileAccessError, InputError: As of `features`.
        """
        own = image if isinstance(image, ImageFeatures) else self.features(image)
        made = self._maps(own, progress) if maps else {}
        chosen = self._chosen(references)
        shares, reference_score = self._shares(own, chosen)
        notes = self._notes(own, made, shares, len(chosen))
        return ScoreExplanation(own.score, reference_score, shares, made, notes, own.turned)

    def compare(
        self,
        a: Picture | ImageFeatures,
        b: Picture | ImageFeatures,
        maps: bool = True,
        progress: Progress | None = None,
    ) -> ScoreDifference:
        """Tell what makes one image score higher than another: by branch, by factor, and by place.

        Args:
            a: An image, or its `features`.
            b: Another.
            maps: Whether maps of both are made; they have one scale of colours.
            progress: As of `explain`, for each image in turn.

        Raises:
            FileAccessError, InputError: As of `features`.
        """
        first, second = (one if isinstance(one, ImageFeatures) else self.features(one) for one in (a, b))
        shares, _ = self._shares(first, [second])
        factors = compare_factors(self._measured(first.source), self._measured(second.source))
        both = [dict[str, ImageMap](), dict[str, ImageMap]()]
        if maps:
            both = [self._maps(one, progress) for one in (first, second)]
        return ScoreDifference(first.score, second.score, shares, factors, *one_scale(*both))

    def _parts_on_device(self, features: ImageFeatures) -> Parts:
        if not features.parts:
            return self._parts.parts_of(self._reference_inputs(features.source))
        return {name: values.to(self._device) for name, values in features.parts.items()}

    def _chosen(self, references: Sequence[ImageFeatures]) -> list[ImageFeatures]:
        """Return the references, or as many of them as can be had in the time, spread evenly."""
        read_again = len(self._inputs) > 1 and not self._parts.separable
        most = MOST_REFERENCES_SEEN if read_again else MOST_REFERENCES
        if len(self._inputs) == 1 or len(references) <= most:
            return list(references)
        return [references[at] for at in np.linspace(0, len(references) - 1, most).round().astype(int)]

    def _shares(self, own: ImageFeatures, references: Sequence[ImageFeatures]) -> tuple[dict[str, float], float | None]:
        if not references:
            return {}, None
        if len(self._inputs) == 1:
            return {}, float(np.mean([one.score for one in references]))
        parts = self._parts_on_device(own)
        values = values_of_sets(self._parts, parts, [self._parts_on_device(one) for one in references])
        shares = shapley_shares([name for name in parts if name not in GOES_WITH], values)
        return {BRANCHES[name]: share for name, share in shares.items()}, values[Names()]

    def _maps(self, own: ImageFeatures, progress: Progress | None) -> dict[str, ImageMap]:
        seen = self._seen(own.source)
        if self._one_map_crop:
            centre = max(view.crop for view in seen.views)  # the last of five
            seen = replace(seen, views=[view for view in seen.views if view.crop == centre])
        parts = self._parts.parts_of(seen.inputs) if not own.parts else self._parts_on_device(own)
        return self._occlusion.maps(seen, parts, progress)

    @cached_property
    def _measurer(self) -> FactorMeasurer:
        return FactorMeasurer(device=self._device)

    def _measured(self, source: str) -> PortraitFactors:
        return self._measurer(source.opened() if isinstance(source, PictureInMemory) else source)

    def _notes(
        self, own: ImageFeatures, maps: Mapping[str, ImageMap], shares: Mapping[str, float], references: int
    ) -> list[str]:
        notes = []
        if not own.face_found and "face_crop" in self._inputs:
            notes.append(NO_FACE)
        if shares:
            notes.append(f"Shares are against {references} other {'image' if references == 1 else 'images'}.")
        if {"whole", "face"} <= set(shares):
            notes.append(SHARED)
        if maps:
            notes.append(OWN_MAPS)
            notes += [ONE_CROP] if self._one_map_crop else []
        return notes


def one_scale(*images: Mapping[str, ImageMap]) -> list[dict[str, ImageMap]]:
    """Return the maps of several images with one scale of colours, so that they can be compared.

    Maps of single images have scales of their own, which make a flat map look dramatic.
    """
    found = [one.values for maps in images for one in maps.values()]
    limit = colour_limit(*found) if found else 0.0
    inputs = {f"score_{branch}": name for name, branch in BRANCHES.items()}
    return [{name: score_image_map(inputs[name], one.values, limit) for name, one in maps.items()} for maps in images]
