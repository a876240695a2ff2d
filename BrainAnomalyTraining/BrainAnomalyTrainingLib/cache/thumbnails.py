"""A small picture of how a scan was prepared: its brain mask and its place on the template."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from BrainAnomalyLib.io.geometry import FloatArray, MaskArray
from BrainAnomalyLib.io.resampling import resample
from BrainAnomalyLib.preparation.pipeline import AlignedScan
from BrainAnomalyLib.preparation.space.template import load_template

_BRAIN_COLOR = (230, 159, 0)
_TEMPLATE_COLOR = (86, 180, 233)
_ENLARGED = 2
# Voxel of the 2 mm template grid at RAS (0, -18, 18) mm: the slices through it show ventricles and cortex.
_SHOWN_AT_MM = (4.0, -18.0, 18.0)
Picture = NDArray[np.uint8]


def preparation_picture(aligned: AlignedScan) -> bytes:
    """PNG of axial, coronal and sagittal slices of the whole scan, brought onto the 2 mm template grid.

    Above with the outline of the brain mask (orange), below with that of the template's white matter (blue). Anterior
    or superior is up and the patient's right is on the left.
    """
    template = load_template("template_2mm")
    grid, place = aligned.scan.grid, aligned.registration.scan_from_template
    scan: FloatArray = resample(aligned.image, grid, template.grid, world_map=place)
    brain = resample(aligned.brain.mask.astype(np.float32), grid, template.grid, world_map=place) > 0.5
    gray = _gray(scan, brain)
    at = np.round(template.grid.to_index(np.array([_SHOWN_AT_MM]))[0]).astype(int)
    rows = [
        _row(gray, brain, at, _BRAIN_COLOR),
        _row(gray, template.white_matter > 0.5, at, _TEMPLATE_COLOR),
    ]
    return _png(np.concatenate(rows, axis=0))


def _gray(scan: FloatArray, brain: MaskArray) -> Picture:
    """0 to 255 from 0 to the brain's 99.5th percentile."""
    high = float(np.percentile(scan[brain], 99.5)) if brain.any() else float(scan.max())
    return np.asarray(255.0 * np.clip(scan / max(high, 1e-6), 0.0, 1.0), dtype=np.uint8)


def _row(gray: Picture, outlined: MaskArray, at: NDArray[np.int_], color: tuple[int, int, int]) -> Picture:
    """Three slices beside each other, on a black ground of equal height."""
    slices = [_slice(gray, outlined, axis, int(at[axis]), color) for axis in (2, 1, 0)]
    height = max(one.shape[0] for one in slices)
    return np.concatenate([np.pad(one, ((0, height - one.shape[0]), (0, 4), (0, 0))) for one in slices], axis=1)


def _slice(gray: Picture, outlined: MaskArray, axis: int, index: int, color: tuple[int, int, int]) -> Picture:
    planes = (np.take(gray, index, axis=axis), np.take(outlined, index, axis=axis))
    turned = [np.kron(plane[::-1, ::-1].T, np.ones((_ENLARGED, _ENLARGED), plane.dtype)) for plane in planes]
    picture = np.repeat(turned[0][..., None], 3, axis=2).astype(np.uint8)
    picture[turned[1] & ~ndimage.binary_erosion(turned[1])] = color
    return picture


def _png(picture: Picture) -> bytes:
    from matplotlib.image import imsave

    stream = io.BytesIO()
    imsave(stream, picture, format="png")
    return stream.getvalue()
