"""Thresholds in terms a reader can judge: how much of a healthy brain would lie above them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from ..detectors.registry import detector_class_named
from ..errors import BrainAnomalyError
from ..model_store import list_models
from ..packages import HASHES, read_metadata
from ..resources import sha256

# The shares of healthy brain voxels that the panel offers.
RATES = (0.001, 0.005, 0.01, 0.05, 0.1)


def thresholds_by_rate(detector: Mapping[str, Any]) -> tuple[tuple[float, float], ...]:
    """Pairs (share of healthy brain voxels above, threshold), rarest first; empty without a calibration.

    ``detector`` is the description that goes with every result. What it does not say itself is looked up in the model
    package it names, or asked of the method.
    """
    known = detector.get("thresholds_by_rate")
    found = known if isinstance(known, Mapping) else _looked_up(detector)
    return tuple(sorted((float(rate), float(value)) for rate, value in found.items()))


def _looked_up(detector: Mapping[str, Any]) -> Mapping[Any, float]:
    identity = detector.get("package")
    with contextlib.suppress(BrainAnomalyError, OSError, KeyError, ImportError):
        return _of_method(detector["name"]) if identity is None else _of_package(str(identity))
    return {}


def _of_method(name: str) -> Mapping[Any, float]:
    method: Any = detector_class_named(name)()
    return dict(method.threshold.by_false_positive_rate)


def _of_package(identity: str) -> Mapping[Any, float]:
    for model in list_models():
        if model.folder is not None and not model.problem and sha256(model.folder / HASHES) == identity:
            return dict(read_metadata(model.folder)["calibration"]["quantiles"])
    return {}
