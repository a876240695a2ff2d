"""The units of anomaly maps in a reader's words: a short one for labels, and what it means exactly."""

from __future__ import annotations

_TIMES = "× healthy"
# Labels and headers of a panel 400 pixels wide have room for no more.
_LONGEST = 20
_RARITY = (
    "1 means that one in 10 voxels of healthy brains is as high, 2 one in 100, 3 one in 1000 "
    "(minus log10 of the part of healthy voxels that are as high)."
)
_WORDS = {
    "evidence (-log10 of the part of healthy voxels as high)": (
        "rarity",
        _RARITY,
    ),
    "-log10 of the part of healthy voxels as high, over all contrasts together": (
        "rarity",
        f"Over all contrasts: {_RARITY}",
    ),
    "multiples of the healthy residual": (
        _TIMES,
        "How many times larger the difference from the expected healthy scan is than in healthy brains.",
    ),
    "multiples of the healthy z-score": (
        _TIMES,
        "How many times further from the mean of healthy brains the voxel is than healthy voxels are.",
    ),
    "multiples of the healthy score": (_TIMES, "How many times higher the network's score is than in healthy brains."),
    "robust standard deviations above gray matter": (
        "SD",
        "Standard deviations of gray matter (robust) by which the voxel is brighter than gray matter.",
    ),
    "standard deviations from the expected tissues": (
        "SD",
        "Standard deviations by which the voxel differs from the tissues that are expected there.",
    ),
    "spreads of the scan's own healthy structures": (
        "spreads",
        "How many times further from the level of its structure the voxel is than the structure's own voxels are.",
    ),
    "difference to the other side (white matter is 1)": (
        "of WM",
        "Difference from the same place on the other side, as a part of the white matter's intensity.",
    ),
    "equalized intensity": ("rank", "The part of the brain's voxels that are darker: 0 the darkest, 1 the brightest."),
}


def short_unit(unit: str) -> str:
    """A word or two for a label, such as "rarity"; a unit that is not known is its own word, if it is short."""
    return _WORDS.get(unit, (unit if len(unit) <= _LONGEST else "own unit", ""))[0]


def unit_meaning(unit: str) -> str:
    """The exact definition in a sentence; a unit that is not known is named."""
    return _WORDS.get(unit, ("", f"In {unit}."))[1]
