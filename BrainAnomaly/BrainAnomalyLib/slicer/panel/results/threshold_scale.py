"""The scale of the threshold's slider: fine where thresholds are chosen, and up to the highest value of the map."""

from __future__ import annotations

from dataclasses import dataclass

# The part of the slider that belongs to the values up to the knee.
_FINE_PART = 0.75


@dataclass(frozen=True)
class ThresholdScale:
    """Values from 0 to ``highest`` on a slider from 0 to 1, linear on both sides of ``knee``.

    Three quarters of the slider go up to the knee, so that a map with a peak far above it has fine steps still.
    """

    knee: float
    highest: float

    def value_at(self, place: float) -> float:
        """The value at a place in [0, 1]."""
        if self.highest <= self.knee:
            return place * self.knee
        if place <= _FINE_PART:
            return place / _FINE_PART * self.knee
        return self.knee + (place - _FINE_PART) / (1.0 - _FINE_PART) * (self.highest - self.knee)

    def place_of(self, value: float) -> float:
        """The place of a value, the end of the slider for what lies beyond it."""
        if self.highest <= self.knee:
            return _clamped(value / self.knee if self.knee > 0.0 else 0.0)
        if value <= self.knee:
            return _clamped(_FINE_PART * value / self.knee)
        return _clamped(_FINE_PART + (1.0 - _FINE_PART) * (value - self.knee) / (self.highest - self.knee))


def _clamped(place: float) -> float:
    return min(max(place, 0.0), 1.0)
