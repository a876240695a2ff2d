"""The embedded network that finds the brain in a head image of any MR contrast.

A small 3D U-Net at 2 mm, trained with randomised contrast (see Resources/BrainMask/README.md). Inference only; the
training code is BrainAnomalyTrainingLib.brain_mask.training. The weights are read from a safetensors file whose
SHA-256 is checked first; the JSON beside it names the network's size and nothing in either file is executed.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ...errors import DependencyError, PackageError
from ...io.geometry import FloatArray, MaskArray, isotropic_grid
from ...io.resampling import resample
from ...io.volumes import Scan
from ...resources import resources_folder, verified
from ..space.orientation import to_ras

if TYPE_CHECKING:
    import torch

Box = tuple[slice, slice, slice]

SPACING_MM = 2.0
WEIGHTS_FILE = "model.safetensors"
NETWORK_FILE = "network.json"
ARCHITECTURE = "monai-basic-unet-3d-on-2x2x2-cells"
SIDE_MULTIPLE = 32
# Voxels of head kept around the intensity threshold when empty surroundings are cut off before the network.
_MARGIN = 8
_VIEW_MARGIN = 16
_SMALLEST_VIEW = 96
_CLOSING_RADIUS = 2.5
_LARGEST_FEATURES = 512


def weights_folder() -> Path:
    """The folder with the weights, their description and their checksums."""
    return resources_folder() / "BrainMask"


def brain_by_network(scan: Scan) -> MaskArray:
    """Brain mask (i, j, k on the scan's grid): the network at 2 mm in RAS order, its answer brought back linearly."""
    array, grid = to_ras(scan.array, scan.grid)
    coarse = isotropic_grid(grid, SPACING_MM)
    probability = segment_brain_2mm(np.asarray(resample(array, grid, coarse), dtype=np.float32))
    kept = np.where(clean_mask(probability), probability, 0.0).astype(np.float32)
    return np.asarray(resample(kept, coarse, scan.grid) > 0.5)


def segment_brain_2mm(image: FloatArray) -> FloatArray:
    """Probability of brain, voxel by voxel.

    ``image`` is a head (i, j, k) in RAS+ axis order with 2 mm isotropic voxels, any intensity unit and any shape.
    The answer has the same shape, values 0 to 1. Brain includes ventricles and the fluid between the gyri, as in
    the DLMUSE label maps that the network learned from. Tilts up to 30 degrees are expected; flipped or swapped
    axes usually work too.
    """
    if image.ndim != 3 or min(image.shape) < 1:
        raise ValueError(f"A 3D image is needed, not one of shape {image.shape}.")
    intensities = normalized_intensities(image)
    box = head_box(intensities)
    overview = _probability_within(box, intensities)
    view = brain_view(clean_mask(overview))
    return overview if view in (None, box) else _probability_within(view, intensities)


def clean_mask(probability: NDArray[np.floating[Any]], threshold: float = 0.5) -> MaskArray:
    """The largest connected part above ``threshold``, closed and with holes filled; all False if nothing exceeds it.

    Closing by 5 mm (at 2 mm voxels) puts narrow gaps between gyri into the brain, as the truth of the training has it.
    """
    labels, count = ndimage.label(probability > threshold)
    if count == 0:
        return np.zeros(probability.shape, dtype=np.bool_)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest = labels == int(np.argmax(sizes))
    box = ndimage.find_objects(largest.astype(np.uint8))[0]
    largest[box] = _closed(largest[box])
    return np.asarray(largest, dtype=np.bool_)


def _closed(mask: MaskArray) -> MaskArray:
    room = int(_CLOSING_RADIUS) + 2
    wide = np.pad(mask, room)
    grown = ndimage.distance_transform_edt(~wide) <= _CLOSING_RADIUS
    closed = ndimage.binary_fill_holes(ndimage.distance_transform_edt(grown) > _CLOSING_RADIUS)
    return np.asarray(closed[room:-room, room:-room, room:-room], dtype=np.bool_)


def normalized_intensities(image: NDArray[np.floating[Any]]) -> FloatArray:
    """Intensities scaled so that the first percentile is 0 and the 99th of the foreground is 1, clipped to [0, 1.5].

    Foreground is what exceeds the mean. NaN and infinity count as background. A flat image becomes 0.
    """
    values = np.nan_to_num(np.asarray(image, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    sample = values[::2, ::2, ::2] if min(values.shape) > 32 else values
    low = float(np.percentile(sample, 1.0))
    foreground = sample[sample > float(sample.mean())]
    high = float(np.percentile(foreground, 99.0)) if foreground.size else low
    if high - low <= 1e-6 * max(abs(high), abs(low), 1e-20):
        return np.zeros_like(values)
    return np.asarray(np.clip((values - low) / (high - low), 0.0, 1.5), dtype=np.float32)


def head_box(intensities: FloatArray, threshold: float = 0.1) -> Box:
    """The smallest box that holds the head with a margin, so that empty surroundings cost no time.

    ``intensities`` as from ``normalized_intensities``. Averaging over 3 voxels makes lone bright ones not count.
    """
    found = ndimage.find_objects((ndimage.uniform_filter(intensities, 3) > threshold).astype(np.uint8))
    if not found:
        whole = tuple(slice(0, size) for size in intensities.shape)
        return whole[0], whole[1], whole[2]
    kept = [
        slice(max(0, part.start - _MARGIN), min(size, part.stop + _MARGIN))
        for part, size in zip(found[0], intensities.shape, strict=True)
    ]
    return kept[0], kept[1], kept[2]


def brain_view(brain: MaskArray) -> Box | None:
    """The box around a first estimate of the brain in which the network looks again; None without a brain.

    It has the size of the views the network was trained on, whatever the scan's field of view.
    """
    found = ndimage.find_objects(brain.astype(np.uint8))
    if not found:
        return None
    first, second, third = (_view_along(part, size) for part, size in zip(found[0], brain.shape, strict=True))
    return first, second, third


def _view_along(part: slice, size: int) -> slice:
    wanted = max(_SMALLEST_VIEW, part.stop - part.start + 2 * _VIEW_MARGIN)
    side = -(-wanted // SIDE_MULTIPLE) * SIDE_MULTIPLE
    start = (part.start + part.stop - side) // 2
    return slice(max(0, start), min(size, start + side))


def build_network(description: dict[str, Any]) -> torch.nn.Module:
    """The untrained U-Net of a ``network.json`` description; its values are checked, never executed.

    It works on cells (see ``to_cells``): ``predicted(network, image)`` gives logits voxel by voxel.
    """
    features = _checked_features(description)
    try:
        from .unet import BrainUNet
    except ImportError as error:
        raise DependencyError("The brain mask needs PyTorch.", "Install it and try again.") from error
    return BrainUNet(8, features)


def predicted(network: torch.nn.Module, image: torch.Tensor) -> torch.Tensor:
    """Logits of brain for ``image``, both (n, 1, i, j, k); each side a multiple of ``SIDE_MULTIPLE``, 64 or more."""
    logits: torch.Tensor = from_cells(network(to_cells(image)))
    return logits


def to_cells(image: torch.Tensor) -> torch.Tensor:
    """Cells of 2 x 2 x 2 voxels: (n, 1, i, j, k) becomes (n, 8, i/2, j/2, k/2) with nothing lost."""
    count, _, i, j, k = image.shape
    split = image.reshape(count, i // 2, 2, j // 2, 2, k // 2, 2)
    return split.permute(0, 2, 4, 6, 1, 3, 5).reshape(count, 8, i // 2, j // 2, k // 2)


def from_cells(cells: torch.Tensor) -> torch.Tensor:
    """The inverse of ``to_cells``."""
    count, _, i, j, k = cells.shape
    split = cells.reshape(count, 2, 2, 2, i, j, k)
    return split.permute(0, 4, 1, 5, 2, 6, 3).reshape(count, 1, 2 * i, 2 * j, 2 * k)


def padding_of(shape: tuple[int, ...]) -> list[int]:
    """Voxels to add to each side length so that the network can take it."""
    return [max(2 * SIDE_MULTIPLE - size, (-size) % SIDE_MULTIPLE) for size in shape]


@lru_cache(maxsize=2)
def load_network(folder: Path) -> torch.nn.Module:
    """The trained network of ``folder`` in evaluation mode."""
    description = _read_description(verified(folder, NETWORK_FILE))
    network = build_network(description)
    try:
        from safetensors.torch import load_file

        state = load_file(verified(folder, WEIGHTS_FILE))
        network.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    except (RuntimeError, OSError, ValueError) as error:
        raise PackageError(f"The brain mask weights do not fit ({error}).", "Install BrainAnomaly again.") from error
    return network.eval()


def _probability_within(box: Box, intensities: FloatArray) -> FloatArray:
    probability = np.zeros(intensities.shape, dtype=np.float32)
    probability[box] = _network_probability(intensities[box])
    return probability


def _network_probability(intensities: FloatArray) -> FloatArray:
    import torch

    before = [padding // 2 for padding in padding_of(intensities.shape)]
    widths = [(start, padding - start) for start, padding in zip(before, padding_of(intensities.shape), strict=True)]
    # Edges repeated, because a head that the field of view cuts off looks cut off by black otherwise.
    padded = np.ascontiguousarray(np.pad(intensities, widths, mode="edge"))
    with torch.inference_mode():
        logits = predicted(load_network(weights_folder()), torch.from_numpy(padded)[None, None])
        probability = torch.sigmoid(logits)[0, 0].numpy()
    inside = tuple(slice(start, start + size) for start, size in zip(before, intensities.shape, strict=True))
    return np.asarray(probability[inside], dtype=np.float32)


def _read_description(path: Path) -> dict[str, Any]:
    description = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(description, dict) or description.get("architecture") != ARCHITECTURE:
        raise PackageError(f"{path.name} does not describe the brain mask network.", "Install BrainAnomaly again.")
    return description


def _checked_features(description: dict[str, Any]) -> tuple[int, ...]:
    features = description.get("features")
    if not isinstance(features, list) or len(features) != 6:
        raise PackageError("The brain mask network's size is not understood.", "Install BrainAnomaly again.")
    if not all(type(count) is int and 1 <= count <= _LARGEST_FEATURES for count in features):
        raise PackageError("The brain mask network's features are out of range.", "Install BrainAnomaly again.")
    return tuple(features)
