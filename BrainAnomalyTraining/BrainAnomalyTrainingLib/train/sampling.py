"""Batches of healthy images: endless, and the same again for the same seed, step and process."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from BrainAnomalyLib.detectors.fitting import center_fit, slices_with_brain
from BrainAnomalyLib.detectors.learning import HealthyScan
from BrainAnomalyLib.errors import OptionsError
from BrainAnomalyLib.io.geometry import FloatArray, MaskArray

from ..cache.cached_scans import CachedScan

MOST_VOLUMES = 8
MOST_SLICES = 48
# Slices shown while training are drawn from the middle part of the head, where anatomy is richest.
_SHOWN_FROM, _SHOWN_TO = 0.2, 0.8
_Pair = tuple[FloatArray, MaskArray]


def training_batch(
    scans: Sequence[HealthyScan],
    crop: tuple[int, ...],
    dimensions: int,
    batch: int,
    seed: int,
    step: int,
    rank: int = 0,
) -> tuple[Tensor, Tensor, torch.Generator]:
    """``batch`` images and brain masks (n, 1, i, j[, k]) of random scans, and the generator to go on drawing from.

    Everything depends on (seed, step, rank) alone, ``rank`` being the number of the training process. Images are in
    prepared intensity units, 0 outside the brain; masks 0 or 1. Volumes (``dimensions`` 3) are fitted about their
    middle to ``crop`` (i, j, k); axial slices (2) with enough brain to (i, j). Raises OptionsError if a scan has none.
    """
    generator = generator_of(seed, step, rank)
    pairs = [_drawn(scans[_integer(len(scans), generator)], dimensions, generator) for _ in range(batch)]
    return *_stacked(pairs, crop), generator


def validation_batch(scans: Sequence[HealthyScan], crop: tuple[int, ...], dimensions: int) -> tuple[Tensor, Tensor]:
    """Always the same images and masks (n, 1, i, j[, k]): at most 8 scans, or 48 axial slices spread over them."""
    shown = _spread(scans, MOST_VOLUMES)
    if dimensions == 3:
        return _stacked([(scan.image(), scan.mask()) for scan in shown], crop)
    each = max(1, MOST_SLICES // len(shown))
    return _stacked([_slice(scan, index) for scan in shown for index in _shown_slices(scan, each)], crop)


def generator_of(seed: int, step: int, rank: int = 0) -> torch.Generator:
    """A generator on the CPU whose stream belongs to these three numbers alone."""
    state = np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def _drawn(scan: HealthyScan, dimensions: int, generator: torch.Generator) -> _Pair:
    if dimensions == 3:
        return scan.image(), scan.mask()
    slices = _slices(scan)
    return _slice(scan, slices[_integer(len(slices), generator)])


def _slices(scan: HealthyScan) -> list[int]:
    """Axial slices with enough brain; those of a cached scan are known without reading it."""
    found = scan.slices_with_brain() if isinstance(scan, CachedScan) else slices_with_brain(scan.mask())
    if not found:
        raise OptionsError("A prepared scan has no axial slice with enough brain.", "Leave that scan out.")
    return found


def _slice(scan: HealthyScan, index: int) -> _Pair:
    if isinstance(scan, CachedScan):
        return scan.axial_slice(index)
    return scan.image()[:, :, index], scan.mask()[:, :, index]


def _shown_slices(scan: HealthyScan, count: int) -> list[int]:
    slices = _slices(scan)
    ends = (_SHOWN_FROM * (len(slices) - 1), _SHOWN_TO * (len(slices) - 1))
    return sorted({slices[round(place)] for place in np.linspace(*ends, count)})


def _spread(scans: Sequence[HealthyScan], most: int) -> list[HealthyScan]:
    places = np.linspace(0, len(scans) - 1, min(most, len(scans)))
    return [scans[round(place)] for place in places]


def _stacked(pairs: list[_Pair], crop: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    images, masks = (
        torch.from_numpy(np.stack([center_fit(part.astype(np.float32, copy=False), crop) for part in parts]))[:, None]
        for parts in zip(*pairs, strict=True)
    )
    return images, masks


def _integer(below: int, generator: torch.Generator) -> int:
    return int(torch.randint(below, (1,), generator=generator))
