"""Ways to find the brain in a head, by name. A new one is a file with a function of a scan, and a line here."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from ...errors import OptionsError
from ...io.geometry import MaskArray
from ...io.volumes import Scan

AUTOMATIC, STRIPPED = "auto", "stripped"
# Module and function, which gives a mask (i, j, k) on the scan's grid or raises BrainAnomalyError.
_FUNCTIONS = {
    "network": ("network", "brain_by_network"),
    "registration": ("by_registration", "brain_by_registration"),
    "hd-bet": ("tools", "brain_by_hd_bet"),
    "deepbet": ("tools", "brain_by_deepbet"),
}
CHOICES = (AUTOMATIC, STRIPPED, *_FUNCTIONS)


def checked_method(method: str) -> str:
    """``method``, or OptionsError where there is none of that name."""
    if method not in CHOICES:
        raise OptionsError(f"There is no brain mask method '{method}'.", f"Choose one of {', '.join(CHOICES)}.")
    return method


def brain_finder(method: str) -> Callable[[Scan], MaskArray]:
    """The function of a method other than ``auto`` and ``stripped``; its module is imported here."""
    module, name = _FUNCTIONS[method]
    found: Callable[[Scan], MaskArray] = getattr(import_module(f".{module}", __package__), name)
    return found
