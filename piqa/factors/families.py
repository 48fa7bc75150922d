"""All families of factors and all maps, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Callable

from piqa.factors import (
    artefacts,
    colour,
    composition,
    contrast,
    exposure,
    face_light,
    focus,
    light_maps,
    noise,
    resolution,
    sharpness,
    skin,
)
from piqa.factors.detail_maps import noise_map, sharpness_map
from piqa.factors.factor import Factor, Measurement
from piqa.factors.maps import ImageMap
from piqa.factors.measured_image import MeasuredImage

# In the order of `factor.Family`; light on the face belongs to exposure, skin to colour.
FAMILIES = (
    exposure,
    face_light,
    contrast,
    colour,
    skin,
    noise,
    sharpness,
    focus,
    artefacts,
    composition,
    resolution,
)
FACTORS: dict[str, Factor] = {factor.name: factor for family in FAMILIES for factor in family.FACTORS}
VERSION = 2  # raise it when a factor of the same name gives other values
# Each returns a map of an image, or None where there is nothing to show, as of colour in a grey image.
MAPS: tuple[Callable[[MeasuredImage], ImageMap | None], ...] = (
    light_maps.exposure_map,
    light_maps.skin_map,
    sharpness_map,
    noise_map,
)


def measure_all(image: MeasuredImage) -> dict[str, Measurement]:
    """Return a measurement for each factor, by name, in the order of `FACTORS`."""
    found = {name: value for family in FAMILIES for name, value in family.measure(image).items()}
    return {name: found[name] for name in FACTORS}


def map_all(image: MeasuredImage) -> dict[str, ImageMap]:
    """Return the maps of an image, by name."""
    return {made.name: made for make in MAPS if (made := make(image)) is not None}
