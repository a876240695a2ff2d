"""Where the brain is: a mask given by the user, an image that is already stripped, or a brain extraction."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import PreparationError
from ...io.geometry import MaskArray
from ...io.volumes import Scan
from .methods import AUTOMATIC, STRIPPED, brain_finder, checked_method
from .size import size_of_a_brain
from .stripped import is_head, stripped_brain


@dataclass(frozen=True, eq=False)
class BrainMask:
    """A brain mask (i, j, k) on the scan's grid and how it was found (``given`` for a user's mask)."""

    mask: MaskArray
    method: str


def find_brain(scan: Scan, method: str = AUTOMATIC, given: MaskArray | None = None) -> BrainMask:
    """The brain of ``scan``: ``given`` if there is one, else what ``method`` (of ``methods.CHOICES``) finds.

    ``auto`` recognizes an image that is already brain-extracted, otherwise uses the embedded network, and lays the
    template onto the head where the network finds nothing of a brain's size.
    Raises PreparationError when what was found is not the size of a brain, OptionsError for an unknown method.
    """
    if given is not None:
        return _checked(BrainMask(given, "given"), scan)
    if checked_method(method) == AUTOMATIC:
        return _checked(_automatic(scan), scan)
    found = stripped_brain(scan) if method == STRIPPED else brain_finder(method)(scan)
    if found is None:
        raise PreparationError(
            f"'{scan.name}' is not a brain-extracted image.", "Choose another brain mask method, or give a mask."
        )
    return _checked(BrainMask(found, method), scan)


def _automatic(scan: Scan) -> BrainMask:
    stripped = stripped_brain(scan)
    if stripped is not None and not is_head(scan, stripped):
        return BrainMask(stripped, STRIPPED)
    found = BrainMask(brain_finder("network")(scan), "network")
    if size_of_a_brain(found.mask, scan.grid):
        return found
    return BrainMask(brain_finder("registration")(scan), "registration")


def _checked(brain: BrainMask, scan: Scan) -> BrainMask:
    if not size_of_a_brain(brain.mask, scan.grid):
        volume = scan.grid.volume_ml(brain.mask)
        raise PreparationError(
            f"No brain was found in '{scan.name}': the brain mask ({brain.method}) measures {volume:.0f} mL.",
            "Check that this is a brain scan with a correct voxel size, or give a brain mask.",
        )
    return brain
