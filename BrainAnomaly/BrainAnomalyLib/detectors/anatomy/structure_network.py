"""A 3D network that says which healthy structure belongs at every voxel of any scan, and where something else lies.

It sees the scan at 2 mm, its mirror image, the brain mask, and where voxels lie in the template; left and right are
alike to it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...errors import PackageError
from ...io.geometry import FloatArray, MaskArray
from ...preparation.space.grids import grid_named
from ...resources import network_identity, resources_folder, verified
from .structures import NAMES, OUTSIDE, STRUCTURES

if TYPE_CHECKING:
    import torch
    from torch import Tensor

GRID = "template_2mm"
FOLDER = "StructureNetwork"
WEIGHTS_FILE, NETWORK_FILE, PLACE_PRIOR = "model.safetensors", "network.json", "place_prior"
# The part of the 2 mm template grid that the network sees: the brain mask with 6 mm to spare, sides alike, in eights.
FIELD = (slice(8, 88), slice(8, 104), slice(8, 88))
CHANNELS_SEEN = 6
_LOW, _HIGH, _MOST = 0.1, 0.9, 4.0
# Half the size of the template's field of view in mm, by which places are scaled.
_REACH_MM = (96.0, 112.0, 96.0)


@dataclass(frozen=True)
class NetworkSize:
    """Channels of each level; every level halves the size."""

    channels: tuple[int, ...] = (16, 40, 96, 160)


def normalized(image: Tensor, mask: Tensor) -> Tensor:
    """Median 0 and 80 % of the brain within a width of 1, cut at 4; 0 outside the mask. Any unit, any offset."""
    import torch

    inside = image[mask]
    if not len(inside):
        return torch.zeros_like(image)
    ranked = inside.sort().values
    low, middle, high = (ranked[int(share * (len(ranked) - 1))] for share in (_LOW, 0.5, _HIGH))
    scaled = (image - middle) / (high - low).clamp(min=1e-6)
    return torch.where(mask, scaled.clamp(-_MOST, _MOST), 0.0)


def with_places(image: Tensor, mask: Tensor) -> Tensor:
    """Channels (c, i, j, k) of a scan in ``FIELD``: normalized, its mirror image, mask, |x|, y, z in the template."""
    import torch

    grid, seen, places = grid_named(GRID), normalized(image, mask), []
    for axis, part in enumerate(FIELD):
        along = (grid.affine[axis, axis] * np.arange(part.start, part.stop) + grid.affine[axis, 3]) / _REACH_MM[axis]
        shape = [-1 if axis == other else 1 for other in range(3)]
        values = torch.from_numpy((np.abs(along) if axis == 0 else along).astype(np.float32))
        places.append(values.to(image.device).view(shape).expand(image.shape))
    return torch.stack([seen, seen.flip(0), mask.float(), *places])


def build(size: NetworkSize) -> torch.nn.Module:
    """The network, from ``CHANNELS_SEEN`` channels to a score of every structure, and last of something else there."""
    from ..networks.plain_unet import PlainUNet3d

    return PlainUNet3d(CHANNELS_SEEN, len(STRUCTURES) + 1, size.channels)


class StructureNetwork(NamedTuple):
    """The network and how common every structure is at a place (structure, i, j, k) on the 2 mm grid."""

    network: torch.nn.Module
    place_prior: FloatArray


def structures_identity() -> str:
    """What tells the embedded network from others: what was calibrated with one knows no other."""
    return network_identity(FOLDER)


def load_structure_network(device: str = "cpu") -> StructureNetwork:
    """The embedded network. Raises PackageError where a file is missing, damaged or of another list of structures."""
    import torch
    from safetensors.torch import load_file
    from scipy import ndimage
    from torch.nn.functional import interpolate

    folder = resources_folder() / FOLDER
    facts = json.loads(verified(folder, NETWORK_FILE).read_text(encoding="utf-8"))
    if tuple(facts["structures"]) != NAMES:
        raise PackageError("The structure network knows other structures.", "Install BrainAnomaly again.")
    tensors = {name: value.float() for name, value in load_file(verified(folder, WEIGHTS_FILE)).items()}
    prior = interpolate(tensors.pop(PLACE_PRIOR)[None], scale_factor=2.0, mode="trilinear")[0].numpy()
    network = build(NetworkSize(tuple(facts["channels"])))
    network.load_state_dict(tensors)
    # Smoothed by 3 mm: the network sees details, the prior says where things may be at all.
    smooth = np.stack([ndimage.gaussian_filter(part, 1.5) for part in prior])
    # Channels last is half as fast again on a processor.
    network = network.to(device).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return StructureNetwork(network.eval(), smooth)


class Seen(NamedTuple):
    """Shares of the healthy structures (structure, i, j, k), and log odds that a lesion covers them (i, j, k)."""

    shares: FloatArray
    lesion: FloatArray


def look(network: torch.nn.Module, image: FloatArray, mask: MaskArray) -> Seen:
    """What the network sees in a scan on the 2 mm grid; outside the mask "outside" is 1 and the log odds 0."""
    import torch

    device = next(network.parameters()).device
    inside = np.ascontiguousarray(mask[FIELD])
    scan = torch.from_numpy(np.where(inside, image[FIELD], 0.0).astype(np.float32)).to(device)
    with torch.inference_mode():
        scores = network(with_places(scan, torch.from_numpy(inside).to(device))[None])[0].float()
        shares, odds = torch.softmax(scores[:-1], 0).cpu().numpy(), scores[-1].cpu().numpy()
    found = np.zeros((len(STRUCTURES), *image.shape), dtype=np.float32)
    found[OUTSIDE] = 1.0
    lesion = np.zeros(image.shape, dtype=np.float32)
    found[(slice(None), *FIELD)] = np.where(inside, shares, found[(slice(None), *FIELD)])
    lesion[FIELD] = np.where(inside, odds, 0.0)
    return Seen(found, lesion)
