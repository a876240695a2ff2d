"""A 2.5D network that says which healthy structure belongs at every voxel of any scan, and where something else lies.

It sees five neighboring axial slices at 2 mm, the brain mask of the middle one, and where they lie in the template;
left and right are alike to it.
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

GRID = "template_2mm"
FOLDER = "StructureNetwork"
WEIGHTS_FILE, NETWORK_FILE, PLACE_PRIOR = "model.safetensors", "network.json", "place_prior"
# Slices on either side of the middle one.
NEIGHBORS = 2
CHANNELS_SEEN = 2 * NEIGHBORS + 1 + 4
_LOW, _HIGH, _MOST = 10.0, 90.0, 4.0
# Half the size of the template's field of view in mm, by which places are scaled.
_REACH_MM = (96.0, 112.0, 96.0)


@dataclass(frozen=True)
class NetworkSize:
    """Channels of each level; every level halves the size."""

    channels: tuple[int, ...] = (24, 48, 96, 144)


def normalized(image: FloatArray, mask: MaskArray) -> FloatArray:
    """Median 0 and 80 % of the brain within a width of 1, cut at 4; 0 outside the mask. Any unit, any offset."""
    inside = image[mask]
    if not inside.size:
        return np.zeros_like(image)
    low, middle, high = np.percentile(inside, (_LOW, 50.0, _HIGH))
    scaled = (image - middle) / max(float(high - low), 1e-6)
    return np.where(mask, np.clip(scaled, -_MOST, _MOST), 0.0).astype(np.float32)


def with_places(slices: FloatArray, mask: MaskArray, middle: int) -> FloatArray:
    """Channels (c, i, j) of slices (5, i, j): the slices, the middle one's mask, and |x|, y, z in template space."""
    grid = grid_named(GRID)
    x, y, z = (
        (grid.affine[axis, axis] * np.arange(grid.shape[axis]) + grid.affine[axis, 3]) / _REACH_MM[axis]
        for axis in range(3)
    )
    shape = slices.shape[1:]
    places = [np.abs(x)[:, None] + np.zeros(shape), y[None] + np.zeros(shape), np.full(shape, z[middle])]
    return np.concatenate([slices, mask[None], np.stack(places)]).astype(np.float32)


def build(size: NetworkSize) -> torch.nn.Module:
    """The network, from ``CHANNELS_SEEN`` channels to a score of every structure, and last of something else there."""
    from ..networks.plain_unet import PlainUNet

    return PlainUNet(CHANNELS_SEEN, len(STRUCTURES) + 1, size.channels)


class StructureNetwork(NamedTuple):
    """The network and how common every structure is at a place (structure, i, j, k) on the 2 mm grid."""

    network: torch.nn.Module
    place_prior: FloatArray


def structures_identity() -> str:
    """What tells the embedded network from others: what was calibrated with one knows no other."""
    return network_identity(FOLDER)


def load_structure_network(device: str = "cpu") -> StructureNetwork:
    """The embedded network. Raises PackageError where a file is missing, damaged or of another list of structures."""
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
    return StructureNetwork(network.to(device).eval(), smooth)


class Seen(NamedTuple):
    """Shares of the healthy structures (structure, i, j, k), and log odds that a lesion covers them (i, j, k)."""

    shares: FloatArray
    lesion: FloatArray


def look(network: torch.nn.Module, image: FloatArray, mask: MaskArray, batch: int = 8) -> Seen:
    """What the network sees in a scan on the 2 mm grid; outside the mask "outside" is 1 and the log odds 0."""
    import torch

    seen, found = normalized(image, mask), np.zeros((len(STRUCTURES), *image.shape), dtype=np.float32)
    found[OUTSIDE] = 1.0
    lesion = np.zeros(image.shape, dtype=np.float32)
    padded = np.pad(seen, ((0, 0), (0, 0), (NEIGHBORS, NEIGHBORS)), mode="edge")
    used = np.flatnonzero(mask.any(axis=(0, 1)))
    device = next(network.parameters()).device
    for start in range(0, len(used), batch):
        chosen = used[start : start + batch]
        near = [np.moveaxis(padded[..., k : k + 2 * NEIGHBORS + 1], -1, 0) for k in chosen]
        stacks = [with_places(slices, mask[..., k], int(k)) for slices, k in zip(near, chosen, strict=True)]
        with torch.inference_mode():
            scores = network(torch.from_numpy(np.stack(stacks)).to(device)).float()
            found[..., chosen] = np.moveaxis(torch.softmax(scores[:, :-1], 1).cpu().numpy(), 0, -1)
            lesion[..., chosen] = np.moveaxis(scores[:, -1].cpu().numpy(), 0, -1)
    found[:, ~mask] = 0.0
    found[OUTSIDE, ~mask] = 1.0
    return Seen(found, np.where(mask, lesion, 0.0).astype(np.float32))
