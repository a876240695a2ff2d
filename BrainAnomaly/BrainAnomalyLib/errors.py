"""Errors a user can act on: what is wrong, what to do, and the exit code of the command line."""

from __future__ import annotations


class BrainAnomalyError(Exception):
    """Something the user can mend. ``message`` says what is wrong, ``remedy`` what to do about it."""

    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def sentence(self) -> str:
        """Both parts as one plain line for a terminal, a log or a message box."""
        return f"{self.message} {self.remedy}".strip()

    def __reduce__(self) -> tuple[type[BrainAnomalyError], tuple[str, str]]:
        return type(self), (self.message, self.remedy)


class OptionsError(BrainAnomalyError):
    """An option has a value the engine cannot use."""

    exit_code = 2


class ScanError(BrainAnomalyError):
    """The scan or mask cannot be read, or is not a 3D brain MR image."""

    exit_code = 3


class PackageError(BrainAnomalyError):
    """A model package is missing, damaged, or made for another preparation recipe."""

    exit_code = 4


class PreparationError(BrainAnomalyError):
    """The scan was read but could not be brought into template space."""

    exit_code = 5


class OutputError(BrainAnomalyError):
    """The results could not be written."""

    exit_code = 6


class DependencyError(BrainAnomalyError):
    """A Python package or outside tool that this step needs is not installed."""

    exit_code = 7


class Cancelled(BrainAnomalyError):
    """The user stopped the run."""

    exit_code = 130

    def __init__(self, message: str = "The run was cancelled.", remedy: str = "") -> None:
        super().__init__(message, remedy)
