"""What a difference of one factor brings with it in others: so that the first of many differences is their cause.

A darker image has less contrast, paler colours and other values of the skin. Each line says how far one factor goes
along when another differs by one step, as measured on the graded spoilings of `piqa.factors.spoilings` (the matrix in
docs/factors.md holds the same at other strengths). What stays within tells nothing new; what lies outside does.
"""

from __future__ import annotations

from collections.abc import Mapping

Range = tuple[float, float]  # least and most steps that come with one step of the other factor


def _either(most: float) -> Range:
    """Return the range of what goes along in a direction that depends on the image."""
    return -most, most


_COLOUR_OF_SKIN = {
    "colourfulness": (0, 1.8),
    "contrast_local": (0, 1.3),
    "face_stops": _either(0.9),
    "clip_face": _either(2.5),
    "cast_blue": _either(1.2),
    "cast_green": _either(1.2),
    "cheek_stops": _either(1.0),
}
_CONTRAST = {
    "face_stops": (0, 1.0),
    "clip_face": _either(0.5),
    "fineness_face": (-0.1, 0.5),
    "blur_face": (0, 0.5),
    "under_face": (0, 1.0),
    "cheek_stops": _either(1.0),
}
_CAST = {"colourfulness": _either(1.0), "contrast_local": _either(0.7), "clip_face": _either(0.8)}
_NOISE = {"noise": (0, 1.5), "chroma_noise": (0, 0.5), "fineness_face": (-0.5, 0.5)}
_NOISE |= {"blur_face": (-1.0, 0.2), "blur_surroundings": _either(0.5), "blockiness": _either(1.0)}
_BLUR = {"fineness_face": (0, 0.9), "blur_face": (0, 1.5), "motion": (0, 1.4), "noise": (-0.5, 0)}
_AROUND = {"blur_face": (-1.6, 0), "motion": (-1.4, 0), "noise": _either(0.4), "blockiness": _either(0.5)}
_CLIPPED = {"clip_face": (0, 1.5), "clip_whole": (0, 1.5), "cast_blue": _either(0.4), "over_face": (0, 1.5)}

# By the factor that goes along: by the factor that it comes with.
CROSS_TALK: Mapping[str, Mapping[str, Range]] = {
    "face_stops": {"cheek_stops": _either(1.0), "contrast_face": (0, 0.5), "contrast_local": (0, 0.4)},
    "face_vs_surroundings": {"face_stops": _either(0.3), "contrast_face": (0, 0.4), "cheek_stops": _either(0.5)},
    "under_face": {"face_stops": (0, 1.3), "cheek_stops": _either(1.0), "contrast_face": (-1.0, 0)},
    "clip_red": _CLIPPED,
    "clip_green": _CLIPPED,
    "clip_blue": _CLIPPED,
    "range_stops": {"face_stops": (0, 0.6), "noise": (-0.3, 0), "cheek_stops": _either(0.5), "fineness_face": (0, 0.3)},
    "contrast_face": _CONTRAST,
    "contrast_range": _CONTRAST,
    "contrast_local": _CONTRAST,
    "cheek_stops": {"clip_face": _either(0.4), "contrast_face": _either(0.3), "noise": _either(0.2)},
    "overhead_stops": {"range_stops": _either(1.4), "over_face": _either(1.1), "clip_face": _either(0.3)},
    "colourfulness": {
        "face_stops": (0, 0.8),
        "contrast_local": (0, 1.1),
        "cast_blue": _either(0.3),
        "cheek_stops": _either(0.6),
        "clip_face": _either(0.4),
    },
    "mean_chroma": {
        "colourfulness": (0, 1.2),
        "face_stops": (0, 0.8),
        "contrast_local": (0, 1.1),
        "cast_blue": _either(0.4),
    },
    "cast_blue": _CAST | {"cheek_stops": _either(0.4), "face_stops": _either(0.2)},
    "cast_green": _CAST | {"cheek_stops": _either(0.3), "cast_blue": _either(0.1)},
    "skin_a": _COLOUR_OF_SKIN,
    "skin_b": _COLOUR_OF_SKIN,
    "skin_hue": {"cast_blue": _either(4.0), "cast_green": _either(4.0), "clip_face": _either(1.2)},
    "harmony_distance": {"cast_blue": _either(1.6), "cast_green": _either(1.6), "clip_face": _either(1.2)},
    "shadow_noise": {"noise": (0, 1.2)} | _NOISE,
    "chroma_noise": {"noise": (0, 0.8)},
    "noise_60": _NOISE | {"jpeg_quality": _either(1.0), "motion": (-0.8, 0)},
    "blur_face": {"fineness_face": (0, 0.9), "noise": (-0.2, 0), "motion": (0, 1.2)},
    "blur_eyes": _BLUR,
    "blur_60": _BLUR,
    "edge_width_face": _BLUR,
    "edge_width_eyes": _BLUR,
    "edge_width_relative": _BLUR,
    "edge_width_60": _BLUR,
    "fineness_face": {"motion": (0, 1.0), "noise": (-0.4, 0), "halo": _either(1.0)},
    "motion": {"blur_face": (0, 0.3)},
    "blur_surroundings": _AROUND,
    "edge_width_surroundings": _AROUND,
    "surroundings_blur": _AROUND,
    "focus_gap": {"noise": _either(0.2), "blockiness": _either(0.4)},
    "eyes_against_nose": {"fineness_face": (0, 0.5), "noise": _either(0.4), "jpeg_quality": _either(0.4)},
    "sharpest_plane": {"fineness_face": _either(1.0), "noise": _either(1.0), "blur_surroundings": _either(1.0)},
    "shallow_depth": {"focus_gap": _either(0.5), "blur_surroundings": _either(0.5)},
    "blockiness": {"jpeg_quality": (0, 3.0)},
    "levels_used": {"blockiness": (0, 1.4), "jpeg_quality": (0, 2.5), "noise": _either(0.4)},
    "halo": {"blur_face": _either(1.0), "fineness_face": _either(1.0)},
    "chroma_resolution": {"jpeg_quality": _either(2.0)},
}

# In pixels of the image: they tell two images apart only where the faces are about as large.
SAME_SIZE_ONLY = frozenset(
    ("edge_width_eyes", "edge_width_face", "edge_width_surroundings", "fineness_face", "motion", "halo")
) | {f"blur_{region}" for region in ("eyes", "face", "surroundings")}
SAME_SIZE = 1.15  # ratio of the distances of the eyes up to which faces are as large


def beyond(steps: float, others: Mapping[str, float], known: Mapping[str, Range]) -> tuple[float, str]:
    """Return what is left of a difference beyond what comes with another, and the name of that other.

    Args:
        steps: The difference, in steps.
        others: All differences, by factor, in steps.
        known: How far the factor goes along with others.

    Returns:
        The least that is left, with the sign of the difference, and the factor that leaves no more; "" where none
        explains any of it.

    Examples:
        >>> beyond(1.5, {"face_stops": 2.0}, {"face_stops": (0, 0.5)})
        (0.5, 'face_stops')
        >>> beyond(-1.5, {"face_stops": 2.0}, {"face_stops": (0, 0.5)})
        (-1.5, '')
    """
    least, cause = steps, ""
    for name, one_step in known.items():
        if name in others:
            low, high = sorted(others[name] * bound for bound in one_step)
            left = steps - min(max(steps, low), high)
            if abs(left) < abs(least):
                least, cause = left, name
    return least, cause
