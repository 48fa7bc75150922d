"""What a trained model says of the images of a report: scores, shares of the branches, and maps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from piqa.errors import FileAccessError, InputError
from piqa.explanation.explainer import Explainer, ImageFeatures
from piqa.report.facts import score_pictures
from piqa.report.names import without_paths
from piqa.report.parts import Parts, part_id
from piqa.report.portraits import Portraits, ScoreSaid, said_from
from piqa.scoring.scorer import Scorer
from piqa.system.progress import Advance

REFERENCES = 16  # images of a scene that stand for all of it: each takes a pass through the networks, and memory
FEW = 24  # images for which maps are made without being asked for; each takes about 50 passes of every branch
FORMAT = 1  # to be raised where an explanation changes under the same settings
SHARES, MAPS = "score", "score_maps"  # kinds of parts: the shares depend on the scene, the maps do not


class ModelReport:
    """Explains the scores of the images of a report, scene by scene, and keeps what it finds.

    Args:
        scorer: The model.
        settings: What its scores depend on, as `Scorer.settings` tells.
        with_maps: Whether maps are made.
        parts: Where all is kept.
    """

    def __init__(self, scorer: Scorer, settings: Mapping[str, object], with_maps: bool, parts: Parts) -> None:
        self.explainer = Explainer(scorer)
        self.with_maps, self.parts = with_maps, parts
        self._made_with = {"format": FORMAT, "model": dict(settings)}
        self._settings: dict[str, Mapping[str, object]] = {}  # of each image's shares
        self.errors: dict[str, str] = {}  # by file

    def explain_all(self, portraits: Portraits, advance: Advance) -> None:
        """Explain all images that were measured, as far as they have no current explanation.

        Raises:
            InputError: If what the model says cannot be written.
        """
        measured = set(portraits.measured())
        for members in portraits.scenes.members.values():
            scene = [portraits.files[position] for position in members if position in measured]
            chosen = _spread(sorted(scene, key=part_id))
            self._settings |= {file: self._settings_of(file, chosen) for file in scene}
            left = [file for file in scene if not self._is_kept(file)]
            references = self._features(chosen) if left else {}
            for file in scene:
                if file in left:
                    others = [features for name, features in references.items() if name != file]
                    self._explain(file, others)
                advance(1)

    def said(self, file: str) -> ScoreSaid | None:
        """Return what the model says of an image; None where it could not say anything."""
        said = self.parts.said(file, SHARES, self._settings.get(file, {}))
        if said is None:
            return None
        maps = self.parts.said(file, MAPS, self._settings_of_maps(file)) if self.with_maps else None
        return said_from({**said, "maps": maps["maps"] if maps else []})

    def _is_kept(self, file: str) -> bool:
        return self.parts.said(file, SHARES, self._settings[file]) is not None and (
            not self.with_maps or self.parts.said(file, MAPS, self._settings_of_maps(file)) is not None
        )

    def _explain(self, file: str, references: Sequence[ImageFeatures]) -> None:
        needs_maps = self.with_maps and self.parts.said(file, MAPS, self._settings_of_maps(file)) is None
        try:
            found = self.explainer.explain(file, references, maps=needs_maps)
        except FileAccessError as error:  # another try may succeed
            self.errors[file] = without_paths(str(error), file)
            return
        except InputError as error:
            self.errors[file] = without_paths(str(error), file)
            return
        if needs_maps:
            maps = [asdict(picture) for picture in score_pictures(found.maps)]
            self.parts.write_said(file, MAPS, {"maps": maps}, self._settings_of_maps(file))
        said = {"score": found.score, "reference": found.reference_score, "shares": dict(found.shares)}
        self.parts.write_said(file, SHARES, {**said, "notes": list(found.notes)}, self._settings[file])

    def _features(self, files: Sequence[str]) -> dict[str, ImageFeatures]:
        found = {}
        for file in files:
            try:
                found[file] = self.explainer.features(file)
            except InputError:  # its own explanation says why
                continue
        return found

    def _settings_of(self, file: str, references: Sequence[str]) -> dict[str, object]:
        others = [[part_id(other), self._stamp(other)] for other in references if other != file]
        digest = hashlib.blake2b(json.dumps(others).encode(), digest_size=16).hexdigest()
        return {**self._made_with, "stamp": self._stamp(file), "references": digest}

    def _settings_of_maps(self, file: str) -> dict[str, object]:
        return {**self._made_with, "stamp": self._stamp(file)}

    def _stamp(self, file: str) -> Any:
        facts = self.parts.facts(file)
        return None if facts is None else facts.stamp


def _spread(files: Sequence[str]) -> list[str]:
    """Return at most `REFERENCES` files, spread evenly."""
    at = np.linspace(0, len(files) - 1, min(REFERENCES, len(files))).round().astype(int).tolist() if files else []
    return [files[place] for place in at]
