"""Random heads for training the brain mask: any contrast, pose, resolution and artefact, with the brain's truth.

Two sources: real T1 heads whose intensities pass through random curves, and label maps whose tissues get random
intensities (the idea of Billot et al., SynthSeg, Medical Image Analysis 2023; written anew here). Everything is on
RAS-ordered grids of 2 mm. All randomness comes from the numpy generator handed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray

from BrainAnomalyLib.preparation.brain.network import normalized_intensities

FloatArray = NDArray[np.float32]
Random = np.random.Generator
Tensor = torch.Tensor

GRID_SIDES = (64, 96, 128, 160)
# FreeSurfer labels that look alike in MR, folded onto one of them: right onto left, and ventricles together.
SAME_TISSUE = {
    41: 2, 42: 3, 43: 4, 5: 4, 44: 4, 14: 4, 15: 4, 46: 7, 47: 8, 49: 10, 50: 11, 26: 11, 58: 11, 51: 12, 52: 13,
    60: 16, 28: 16, 18: 17, 53: 17, 54: 17, 57: 25,
}  # fmt: skip
WHITE_MATTER, GRAY_MATTER, FLUID = (2, 7, 16), (3, 8, 10, 11, 12, 17), (4, 24)


@dataclass(frozen=True)
class RealHead:
    """A T1 head: intensities 0 to 1.5, brain truth, and mm outside the brain (0 inside), all (i, j, k) RAS 2 mm."""

    intensities: Tensor
    brain: Tensor
    distance_mm: Tensor


@dataclass(frozen=True)
class LabelHead:
    """A label map at 1 mm as indices into ``labels``, with brain truth and distance at 2 mm (half the shape)."""

    indices: Tensor
    labels: tuple[int, ...]
    brain: Tensor
    distance_mm: Tensor


@dataclass(frozen=True)
class Sample:
    """A training pair: ``image`` normalised as at inference, ``brain`` fraction 0 to 1, both (1, 1, i, j, k)."""

    image: Tensor
    brain: Tensor


def random_sample(heads: list[RealHead], label_heads: list[LabelHead], random: Random, synthetic: float) -> Sample:
    """One random training pair; ``synthetic`` is the share of heads painted from label maps."""
    if label_heads and random.random() < synthetic:
        chosen = label_heads[random.integers(len(label_heads))]
        return posed_sample(painted(chosen, random), chosen.brain, chosen.distance_mm, random)
    head = heads[random.integers(len(heads))]
    return posed_sample(recolored(head, random), head.brain, head.distance_mm, random)


def posed_sample(image: Tensor, brain: Tensor, distance_mm: Tensor, random: Random) -> Sample:
    """Anatomy removed, pose changed, artefacts added, intensities normalised."""
    image = _without_anatomy(image, distance_mm, random)
    pair = _posed(torch.stack((image, brain)), random)
    image, brain = _cropped_view(degraded(pair[0], random), pair[1], random)
    image, brain = _reoriented(image, brain, random)
    normalized = torch.from_numpy(normalized_intensities(image.numpy()))
    return Sample(normalized[None, None], brain[None, None].contiguous())


def recolored(head: RealHead, random: Random) -> Tensor:
    """The T1 head as it is, or under one random curve, or under one in and near the brain and one farther out."""
    choice = random.random()
    if choice < 0.35:
        return head.intensities
    inner = _curve(head.intensities, random)
    if choice < 0.65:
        return inner
    # The seam lies at a random distance outside the brain so that it cannot be learned as the brain's edge.
    reach, width = random.uniform(1.0, 12.0), random.uniform(0.5, 4.0)
    near = torch.sigmoid((reach - head.distance_mm) / width)
    return near * inner + (1.0 - near) * _curve(head.intensities, random)


def painted(head: LabelHead, random: Random) -> Tensor:
    """A head at 2 mm whose every label has a random mean intensity and texture."""
    means, spreads = _tissue_intensities(head.labels, random)
    image = torch.from_numpy(means)[head.indices.int()]
    small = functional.avg_pool3d(image[None, None], 2)[0, 0]
    spread = torch.from_numpy(spreads)[head.indices[::2, ::2, ::2].int()]
    texture = _smooth_noise(small.shape, random, random.choice([1, 1, 2, 4]))
    return (small + spread * texture).clamp_min(0.0)


def degraded(image: Tensor, random: Random) -> Tensor:
    """Bias field, blur, thick slices, noise and gamma, each only sometimes; half of the images stay clean."""
    if random.random() < 0.5:
        return image
    steps: tuple[tuple[float, Callable[[Tensor, Random], Tensor]], ...] = (
        (0.7, _with_bias_field),
        (0.35, _blurred),
        (0.4, _thick_slices),
        (0.5, _noisy),
        (0.3, _with_gamma),
    )
    for probability, step in steps:
        if random.random() < probability:
            image = step(image, random)
    return image


def _curve(values: Tensor, random: Random) -> Tensor:
    """A random piecewise-linear curve, rising and falling, that mostly keeps 0 (air) at 0."""
    count = int(random.integers(3, 8))
    knots = np.concatenate(([0.0], np.sort(random.uniform(0.03, 1.1, count - 2)), [1.5])).astype(np.float32)
    heights = random.uniform(0.0, 1.0, count).astype(np.float32)
    heights[0] = 0.0 if random.random() < 0.85 else random.uniform(0.0, 0.4)
    return torch.from_numpy(np.interp(values.numpy(), knots, heights).astype(np.float32))


def _tissue_intensities(labels: tuple[int, ...], random: Random) -> tuple[FloatArray, FloatArray]:
    means = random.uniform(0.0, 1.0, len(labels)).astype(np.float32)
    spreads = (random.uniform(0.0, 0.1, len(labels)) * random.random()).astype(np.float32)
    places = {label: place for place, label in enumerate(labels)}
    for group, tied in ((WHITE_MATTER, 0.7), (GRAY_MATTER, 0.6), (FLUID, 0.8)):
        if random.random() < tied:
            mean = random.uniform(0.05, 1.0)
            for label in set(group) & set(places):
                means[places[label]] = max(0.0, mean * random.normal(1.0, 0.07))
    means[places[0]] = 0.0 if random.random() < 0.9 else random.uniform(0.0, 0.3)
    spreads[places[0]] = 0.0
    return means, spreads


def _without_anatomy(image: Tensor, distance_mm: Tensor, random: Random) -> Tensor:
    """Sometimes the face or, rarer, everything some mm outside the brain is blanked."""
    choice = random.random()
    if choice < 0.2:
        return image * ~_face(image.shape, distance_mm, random)
    if choice < 0.27:
        return image * (distance_mm <= random.uniform(0.0, 12.0))
    return image


def _face(shape: torch.Size, distance_mm: Tensor, random: Random) -> Tensor:
    """What lies in front of and below a random oblique plane that just clears the brain."""
    angle = np.radians(random.uniform(10.0, 80.0))
    forward, upward = torch.arange(shape[1]).view(1, -1, 1), torch.arange(shape[2]).view(1, 1, -1)
    height = np.cos(angle) * forward - np.sin(angle) * upward
    reach = height.expand(shape)[distance_mm <= 0.0].max()
    face: Tensor = (height > reach + random.uniform(0.0, 12.0)).expand(shape)
    return face


def _posed(pair: Tensor, random: Random) -> Tensor:
    """Image and truth (2, i, j, k) seen on a random grid: rotated, scaled, sheared, shifted, slightly warped."""
    shape = tuple(int(side) for side in random.choice(GRID_SIDES, 3, p=(0.05, 0.5, 0.35, 0.1)))
    source = torch.tensor(pair.shape[1:], dtype=torch.float32)
    linear = torch.from_numpy(_random_linear_map(random)).float()
    center = _random_center(pair[1], random)
    out_half, in_half = (torch.tensor(shape) - 1.0) / 2.0, (source - 1.0) / 2.0
    matrix = torch.empty(3, 4)
    matrix[:, :3] = linear * out_half[None, :] / in_half[:, None]
    matrix[:, 3] = (center - in_half) / in_half
    theta = torch.cat((matrix[:, :3].flip(0).flip(1), matrix[:, 3:].flip(0)), dim=1)
    points = functional.affine_grid(theta[None], [1, 1, *shape], align_corners=True)
    if random.random() < 0.25:
        points = points + _warp(shape, random) / in_half.flip(0)
    return functional.grid_sample(pair[None], points, align_corners=True)[0]


def _random_linear_map(random: Random) -> NDArray[np.float64]:
    angles = np.radians(random.uniform(-38.0, 38.0, 3)) * (random.random() < 0.8)
    matrix = np.eye(3)
    for axis in random.permutation(3):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angles[axis])
        turn[first, second], turn[second, first] = -np.sin(angles[axis]), np.sin(angles[axis])
        matrix = matrix @ turn
    shear = np.eye(3) + random.uniform(-0.06, 0.06, (3, 3))
    return np.asarray(matrix @ shear @ np.diag(random.uniform(0.9, 1.1, 3)) * random.uniform(0.85, 1.2))


def _random_center(brain: Tensor, random: Random) -> Tensor:
    """Source voxel at the middle of the view: between the brain's and the image's middle, shifted up to 20 mm."""
    middle = (torch.tensor(brain.shape, dtype=torch.float32) - 1.0) / 2.0
    centroid = torch.stack([_weighted_mean(brain, axis) for axis in range(3)])
    share = float(random.uniform(0.0, 1.0))
    shift = torch.from_numpy(random.uniform(-10.0, 10.0, 3)).float()
    return share * centroid + (1.0 - share) * middle + shift


def _weighted_mean(brain: Tensor, axis: int) -> Tensor:
    weights = brain.sum(dim=[other for other in range(3) if other != axis])
    return (weights * torch.arange(len(weights))).sum() / weights.sum()


def _warp(shape: tuple[int, ...], random: Random) -> Tensor:
    """A smooth displacement (1, i, j, k, 3) in voxels, in grid_sample's reversed axis order."""
    coarse = torch.from_numpy(random.normal(0.0, random.uniform(0.3, 1.5), (1, 3, 5, 5, 5))).float()
    smooth = functional.interpolate(coarse, size=shape, mode="trilinear", align_corners=True)
    return smooth.permute(0, 2, 3, 4, 1)


def _smooth_noise(shape: torch.Size, random: Random, coarseness: int) -> Tensor:
    small = [max(2, side // coarseness) for side in shape]
    noise = _gaussian_noise(small, random)[None, None]
    if coarseness == 1:
        return noise[0, 0]
    return functional.interpolate(noise, size=shape, mode="trilinear", align_corners=True)[0, 0]


def _gaussian_noise(shape: list[int] | torch.Size, random: Random) -> Tensor:
    generator = torch.Generator().manual_seed(int(random.integers(2**62)))
    return torch.randn(list(shape), generator=generator)


def _with_bias_field(image: Tensor, random: Random) -> Tensor:
    side = int(random.integers(2, 6))
    coarse = torch.from_numpy(random.normal(0.0, random.uniform(0.05, 0.4), (1, 1, side, side, side))).float()
    field = functional.interpolate(coarse, size=image.shape, mode="trilinear", align_corners=True)[0, 0]
    return image * field.exp()


def _blurred(image: Tensor, random: Random) -> Tensor:
    sigma = random.uniform(0.3, 1.2)
    offsets = torch.arange(-3, 4, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    for axis in range(3):
        shape = [1, 1, 1, 1, 1]
        shape[axis + 2] = 7
        padding = [3 if other == axis else 0 for other in range(3)]
        image = functional.conv3d(image[None, None], kernel.view(shape), padding=padding)[0, 0]
    return image


def _thick_slices(image: Tensor, random: Random) -> Tensor:
    """Averaged along one axis into slices of 3 to 8 mm and interpolated back."""
    axis, factor = int(random.integers(3)), random.uniform(1.5, 4.0)
    shape = list(image.shape)
    shape[axis] = max(4, round(shape[axis] / factor))
    thick = functional.adaptive_avg_pool3d(image[None, None], (shape[0], shape[1], shape[2]))
    if random.random() < 0.25:
        return functional.interpolate(thick, size=image.shape, mode="nearest")[0, 0]
    return functional.interpolate(thick, size=image.shape, mode="trilinear", align_corners=False)[0, 0]


def _noisy(image: Tensor, random: Random) -> Tensor:
    level = random.uniform(0.005, 0.07) * float(image.max())
    noise = level * _smooth_noise(image.shape, random, int(random.choice([1, 1, 2])))
    if random.random() < 0.5:
        return torch.sqrt((image + noise) ** 2 + (level * _gaussian_noise(image.shape, random)) ** 2)
    return (image + noise).clamp_min(0.0)


def _with_gamma(image: Tensor, random: Random) -> Tensor:
    top = image.max().clamp_min(1e-6)
    return top * (image.clamp_min(0.0) / top) ** float(np.exp(random.uniform(-0.6, 0.6)))


def _cropped_view(image: Tensor, brain: Tensor, random: Random) -> tuple[Tensor, Tensor]:
    """Sometimes the ends along one or two axes lie outside the field of view: no signal, hence no brain there."""
    if random.random() >= 0.15:
        return image, brain
    seen = torch.zeros(image.shape)
    window = [slice(None)] * 3
    for axis in random.permutation(3)[: int(random.integers(1, 3))]:
        cut = random.uniform(0.0, 0.3, 2) * image.shape[axis]
        window[axis] = slice(int(cut[0]), image.shape[axis] - int(cut[1]))
    seen[tuple(window)] = 1.0
    return image * seen, brain * seen


def _reoriented(image: Tensor, brain: Tensor, random: Random) -> tuple[Tensor, Tensor]:
    """Often mirrored left-right (anatomy allows it); sometimes any flip and swap of axes, as with wrong headers."""
    order: tuple[int, ...] = (0, 1, 2)
    flips = [0] if random.random() < 0.5 else []
    if random.random() < 0.2:
        flips = [axis for axis in range(3) if random.random() < 0.5]
        if random.random() < 0.6:
            order = list(permutations(range(3)))[random.integers(6)]
    return image.permute(order).flip(flips).contiguous(), brain.permute(order).flip(flips).contiguous()
