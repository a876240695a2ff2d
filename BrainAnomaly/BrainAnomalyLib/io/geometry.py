"""Voxel grids in patient space, and images and transforms of SimpleITK on them.

Arrays have axis order (i, j, k), as on disk; affines map voxel indices to RAS millimetres (+x right, +y anterior,
+z superior). SimpleITK works in LPS and stores axes reversed; the conversion happens here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import SimpleITK

Array = NDArray[Any]
FloatArray = NDArray[np.float32]
MaskArray = NDArray[np.bool_]
Affine = NDArray[np.float64]
Shape = tuple[int, int, int]

LPS_FROM_RAS: Affine = np.diag([-1.0, -1.0, 1.0, 1.0])
# A cosine as rounded headers leave it.
_RIGHT_ANGLE = 1e-5
_AXIS_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))


class Forms(NamedTuple):
    """What a NIfTI header states: two 4x4 affines (RAS mm) with their codes; None where the code is 0."""

    qform: Affine | None
    qform_code: int
    sform: Affine | None
    sform_code: int


@dataclass(frozen=True, eq=False)
class Grid:
    """A lattice of voxels: its shape (i, j, k) and the 4x4 affine from voxel indices to RAS mm.

    ``forms`` are those of the file where they say more than the affine (see ``io.forms``).
    """

    shape: Shape
    affine: Affine
    forms: Forms | None = None

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along i, j, k in mm."""
        size = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(size[0]), float(size[1]), float(size[2])

    @property
    def direction(self) -> Affine:
        """3x3 matrix whose columns are the unit vectors of i, j, k in RAS."""
        return np.asarray(self.affine[:3, :3] / np.asarray(self.spacing))

    @cached_property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in cubic millimetres."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def volume_ml(self, mask: Array) -> float:
        """Volume of the voxels of ``mask`` (i, j, k) that are not 0, in mL."""
        return float(np.count_nonzero(mask)) * self.voxel_volume_mm3 / 1000.0

    def part(self, box: tuple[slice, ...]) -> Grid:
        """The lattice of the voxels that ``box`` (three slices with start and stop, step 1) takes of an array."""
        affine = self.affine.copy()
        affine[:3, 3] = apply_affine(self.affine, np.asarray([[side.start for side in box]], dtype=float))[0]
        i, j, k = (side.stop - side.start for side in box)
        return Grid((i, j, k), affine)

    @property
    def axis_codes(self) -> str:
        """The anatomical direction each axis runs towards, for example ``RAS`` or ``LPS``."""
        axes = nearest_anatomical_axes(self.affine)
        signs = [self.affine[axis, index] > 0 for index, axis in enumerate(axes)]
        return "".join(_AXIS_LETTERS[axis][int(sign)] for axis, sign in zip(axes, signs, strict=True))

    @property
    def center(self) -> NDArray[np.float64]:
        """RAS mm of the middle of the grid."""
        middle = (np.asarray(self.shape, dtype=np.float64) - 1.0) / 2.0
        return np.asarray(self.to_world(middle[None])[0])

    def to_world(self, indices: Array) -> NDArray[np.float64]:
        """RAS mm (n, 3) of voxel indices (n, 3)."""
        return apply_affine(self.affine, indices)

    def to_index(self, points: Array) -> NDArray[np.float64]:
        """Continuous voxel indices (n, 3) of RAS mm points (n, 3)."""
        return apply_affine(inverse(self.affine), points)

    def same_as(self, other: Grid, tolerance_mm: float = 1e-2) -> bool:
        """Whether both grids put every voxel at the same place, to ``tolerance_mm`` at the corners."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*[(0, size - 1) for size in self.shape])).reshape(3, -1).T
        return bool(np.abs(self.to_world(corners) - other.to_world(corners)).max() <= tolerance_mm)


def inverse(matrix: Affine) -> Affine:
    """The inverse of a 4x4 map."""
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def apply_affine(matrix: Affine, points: Array) -> NDArray[np.float64]:
    """Points (n, 3) moved by a 4x4 matrix."""
    return np.asarray(np.asarray(points, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3])


def nearest_anatomical_axes(affine: Affine) -> tuple[int, int, int]:
    """For each voxel axis the anatomical axis (0 left-right, 1 back-front, 2 down-up) it lies closest to."""
    cosines = np.abs(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    axes = [-1, -1, -1]
    for _ in range(3):
        world, index = np.unravel_index(int(np.argmax(cosines)), (3, 3))
        axes[int(index)] = int(world)
        cosines[world, :] = -1.0
        cosines[:, index] = -1.0
    return axes[0], axes[1], axes[2]


def regular_grid(shape: Shape, spacing_mm: float, center: Sequence[float] | Array) -> Grid:
    """A grid in RAS axis order with isotropic spacing, its middle at ``center`` (RAS mm)."""
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = np.asarray(center) - spacing_mm * (np.asarray(shape) - 1.0) / 2.0
    return Grid(shape, affine)


def isotropic_grid(grid: Grid, spacing_mm: float) -> Grid:
    """The same field of view along the same axes, made rectangular, with isotropic voxels of ``spacing_mm``."""
    extent = np.asarray(grid.shape) * np.asarray(grid.spacing)
    counts = np.maximum(1, np.round(extent / spacing_mm)).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = right_angled(grid.direction) * spacing_mm
    affine[:3, 3] = grid.center - affine[:3, :3] @ ((counts - 1.0) / 2.0)
    return Grid((int(counts[0]), int(counts[1]), int(counts[2])), affine)


def right_angled(direction: Affine) -> Affine:
    """The nearest axes at right angles; those given, to the bit, where they are that already."""
    if np.abs(direction.T @ direction - np.eye(3)).max() < _RIGHT_ANGLE:
        return direction
    left, _, right = np.linalg.svd(direction)
    return np.asarray(left @ right)


def to_image(array: Array, grid: Grid) -> SimpleITK.Image:
    """A SimpleITK image (LPS) of an (i, j, k) array on ``grid``. Booleans become 8-bit."""
    import SimpleITK

    values = array.astype(np.uint8) if array.dtype == np.bool_ else array
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0)))
    image.SetSpacing(grid.spacing)
    image.SetOrigin([float(value) for value in (LPS_FROM_RAS @ grid.affine)[:3, 3]])
    image.SetDirection((LPS_FROM_RAS[:3, :3] @ grid.direction).ravel().tolist())
    return image


def from_image(image: SimpleITK.Image) -> tuple[Array, Grid]:
    """The (i, j, k) array and RAS grid of a 3D SimpleITK image."""
    import SimpleITK

    affine = np.eye(4)
    affine[:3, :3] = np.asarray(image.GetDirection()).reshape(3, 3) * np.asarray(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    size = image.GetSize()
    array = SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0)
    return np.ascontiguousarray(array), Grid((size[0], size[1], size[2]), LPS_FROM_RAS @ affine)


def to_transform(world_map: Affine) -> SimpleITK.AffineTransform:
    """A 4x4 map between RAS mm as a SimpleITK transform between LPS mm."""
    import SimpleITK

    matrix = LPS_FROM_RAS @ world_map @ LPS_FROM_RAS
    transform = SimpleITK.AffineTransform(3)
    transform.SetMatrix(matrix[:3, :3].ravel().tolist())
    transform.SetTranslation(matrix[:3, 3].tolist())
    return transform


def from_transform(transform: SimpleITK.Transform) -> Affine:
    """The 4x4 map between RAS mm of a linear SimpleITK transform, whatever its center."""
    origin = np.asarray(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    for axis in range(3):
        matrix[:3, axis] = np.asarray(transform.TransformPoint(np.eye(3)[axis].tolist())) - origin
    matrix[:3, 3] = origin
    return np.asarray(LPS_FROM_RAS @ matrix @ LPS_FROM_RAS)
