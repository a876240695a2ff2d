"""The steps of a review, to go back and forth."""

from __future__ import annotations

from ...scene.logic import ReviewState


class ReviewHistory:
    """States of before and after each step. What somebody else changed in between ends the history."""

    def __init__(self) -> None:
        self._past: list[ReviewState] = []
        self._future: list[ReviewState] = []
        self._last: ReviewState | None = None

    def add(self, before: ReviewState, after: ReviewState) -> None:
        """Remember a step; steps that were taken back are forgotten. No step where nothing changed."""
        if before == after:
            return
        self._check(before)
        self._past.append(before)
        self._future.clear()
        self._last = after

    def can_go(self, now: ReviewState, back: bool) -> bool:
        """Whether there is a step to take back, or to take again."""
        self._check(now)
        return bool(self._past if back else self._future)

    def go(self, now: ReviewState, back: bool) -> ReviewState:
        """The state one step back, or forth; there must be one."""
        source, target = (self._past, self._future) if back else (self._future, self._past)
        target.append(now)
        self._last = source.pop()
        return self._last

    def _check(self, now: ReviewState) -> None:
        if now != self._last:
            self._past.clear()
            self._future.clear()
            self._last = now
