"""Training pairs of the structure network: an axial slab as a scanner gives it, its healthy structures, lesions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from BrainAnomalyLib.detectors.anatomy.structure_network import NEIGHBORS, normalized, with_places
from BrainAnomalyLib.io.geometry import FloatArray, MaskArray

from .acquisition import acquired
from .anatomies import Random
from .bank import Bank
from .contrasts import painted, random_values
from .painted_lesions import LesionBank, multiple_sclerosis_shapes, painted_lesions, stroke_shapes

# Slices beside those the network sees: a blur along the axis reaches that far.
_MARGIN = 3
# Slices between the two pairs of a slab.
_APART = 4
_LEAST_PIXELS = 100
# A slab's quantiles are not the whole scan's, by which detection normalizes.
_GAIN, _OFFSET = (0.8, 1.25), 0.3
# A lesion is wholly seen that differs from what it covers by this share of the range of intensities.
_SEEN = 0.1


@dataclass(frozen=True, eq=False)
class Slab:
    """A painted slab (i, j, k): the scan (0 outside the mask), mask, lesions as seen (0 to 1), shares of structures."""

    image: FloatArray
    mask: MaskArray
    lesions: FloatArray
    structures: FloatArray
    start: int


@dataclass(frozen=True, eq=False)
class Pair:
    """What the network sees (channel, i, j), healthy shares (structure, i, j), lesions and the brain mask (i, j)."""

    seen: FloatArray
    structures: FloatArray
    lesions: FloatArray
    mask: MaskArray


def lesion_bank(data: Path) -> LesionBank:
    """The lesion shapes of the shared data."""
    sclerosis = multiple_sclerosis_shapes(data / "ms_lesion_shapes_mni_1mm")
    return LesionBank(sclerosis, stroke_shapes(data / "lesion_shapes_mni_1mm"))


def random_slab(bank: Bank, lesions: LesionBank, size: int, random: Random) -> Slab:
    """A slab of ``size`` slices of a random anatomy, lying where there is brain."""
    anatomy = int(random.integers(len(bank.arrays)))
    whole = size + 2 * _MARGIN
    start = int(random.integers(8, bank.arrays[anatomy].shape[0] - whole - 2))
    return painted_slab(bank.slab(anatomy, start, whole), start, bank.masses[anatomy], lesions, random)


def painted_slab(
    soft: FloatArray,
    start: int,
    mass: tuple[float, float, float, float],
    lesions: LesionBank,
    random: Random,
) -> Slab:
    """Paint, put lesions over it, acquire; the margin is cut off."""
    values = random_values(random)
    image = painted(soft, values, random)
    changed, share = painted_lesions(image, soft, values, start, mass, lesions, random)
    difference = np.abs(changed - image) / max(float(np.ptp(values[1:])), 1e-6)
    share = (share * np.clip(difference / (_SEEN * np.maximum(share, 0.1)), 0.0, 1.0)).astype(np.float32)
    image, mask = acquired(changed, soft, random)
    inner = slice(_MARGIN, soft.shape[-1] - _MARGIN)
    return Slab(image[..., inner], mask[..., inner], share[..., inner], soft[..., inner], start + _MARGIN)


def training_pairs(bank: Bank, lesions: LesionBank, random: Random) -> list[Pair]:
    """Two pairs from one slab, some slices apart."""
    while True:
        slab = random_slab(bank, lesions, 2 * NEIGHBORS + 1 + _APART, random)
        middles = (NEIGHBORS, NEIGHBORS + _APART)
        if all(np.count_nonzero(slab.mask[..., middle]) > _LEAST_PIXELS for middle in middles):
            return [_pair(slab, middle, random) for middle in middles]


def _pair(slab: Slab, middle: int, random: Random) -> Pair:
    near = slice(middle - NEIGHBORS, middle + NEIGHBORS + 1)
    image, mask = normalized(slab.image, slab.mask)[..., near], slab.mask[..., near]
    image = np.where(mask, image * random.uniform(*_GAIN) + random.uniform(-_OFFSET, _OFFSET), 0.0)
    seen = with_places(np.moveaxis(image, -1, 0), slab.mask[..., middle], slab.start + middle)
    return Pair(seen, slab.structures[..., middle], slab.lesions[..., middle], slab.mask[..., middle])
