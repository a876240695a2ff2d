"""Painted scans for the structure network: a random anatomy, a random contrast, lesions, an acquisition.

Real healthy scans join in: their gray values are redrawn, lesions are painted over them alike, but nothing is learned
of their structures.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from BrainAnomalyLib.detectors.anatomy.structure_network import GRID
from BrainAnomalyLib.detectors.anatomy.structures import OUTSIDE, STRUCTURES, index_of

from .acquisition import acquired
from .anatomies import Anatomy, at_places, bend, made_anatomy, places_mm, pose, posed
from .bank import SCALE, Bank
from .contrasts import Values, painted, random_values, recolored
from .fields import Random, blurred
from .painted_lesions import LesionBank, multiple_sclerosis_shapes, painted_lesions, stroke_shapes

# A lesion is wholly seen that differs from what it covers by this share of the range of intensities.
_SEEN = 0.1
# Gray values of healthy T1w scans, white matter 1: fluid lies below the first, white matter above the second.
_FLUID, _WHITE = 0.45, 0.87
_NO_MASS = (0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, eq=False)
class PaintedScan:
    """A scan (i, j, k; 0 outside the mask), its mask, lesions as seen (0 to 1) and shares of structures.

    ``known`` says whether the shares are true; those of real scans are guesses by gray value.
    """

    image: Tensor
    mask: Tensor
    lesions: Tensor
    structures: Tensor
    known: bool


def lesion_bank(data: Path) -> LesionBank:
    """The lesion shapes of the shared data."""
    sclerosis = multiple_sclerosis_shapes(data / "ms_lesion_shapes_mni_1mm")
    return LesionBank(sclerosis, stroke_shapes(data / "lesion_shapes_mni_1mm"))


def painted_scan(bank: Bank, lesions: LesionBank, real_share: float, random: Random) -> PaintedScan:
    """A painted scan, or in ``real_share`` of the draws a real healthy one, with lesions."""
    if bank.scans and random.chance(real_share):
        image, soft = _real(bank, random)
        image, values = recolored(image, soft, random)
        return _ill(image, Anatomy(soft, _NO_MASS), values, lesions, random, known=False)
    labels = torch.from_numpy(bank.labels[int(random.numbers.integers(len(bank.labels)))]).to(random.device)
    return with_lesions(made_anatomy(labels, random), lesions, random)


def with_lesions(anatomy: Anatomy, lesions: LesionBank, random: Random) -> PaintedScan:
    """Paint an anatomy, put lesions over it, acquire."""
    values = random_values(random)
    return _ill(painted(anatomy.soft, values, random), anatomy, values, lesions, random, known=True)


def _ill(
    image: Tensor, anatomy: Anatomy, values: Values, lesions: LesionBank, random: Random, known: bool
) -> PaintedScan:
    changed, share = painted_lesions(image, anatomy.soft, values, anatomy.mass, lesions, random)
    # A single voxel of texture does not hide a lesion.
    difference = blurred((changed - image).abs(), 0.7) / values.spread
    share = share * (difference / (_SEEN * share.clamp(min=0.1))).clamp(0.0, 1.0)
    image, mask = acquired(changed, anatomy.soft, random)
    return PaintedScan(image, mask, share, anatomy.soft, known)


def _real(bank: Bank, random: Random) -> tuple[Tensor, Tensor]:
    """A real healthy scan, bent and turned, and its structures as far as gray values tell them."""
    stored = torch.from_numpy(bank.scans[int(random.numbers.integers(len(bank.scans)))]).to(random.device)
    places = posed(places_mm(0.5 * bend(random), fine=False), pose(random))
    image = at_places(stored, places, GRID, "bilinear") / SCALE
    inside = at_places((stored > 0).float(), places, GRID, "bilinear")
    soft = torch.zeros(len(STRUCTURES), *image.shape, device=image.device)
    soft[OUTSIDE] = 1.0 - inside
    names = ("ventricle", "cortex", "white matter")
    gates = (image < _FLUID, (image >= _FLUID) & (image < _WHITE), image >= _WHITE)
    for name, gate in zip(names, gates, strict=True):
        soft[index_of(name)] = inside * gate
    return image, soft
