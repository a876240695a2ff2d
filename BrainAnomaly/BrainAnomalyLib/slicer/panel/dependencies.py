"""Which Python packages a run needs, which are there, and how the missing ones are installed; nothing is imported."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...errors import DependencyError

TORCH = "torch>=2.4"
_OLDEST_SLICER = "3D Slicer 5.12"


@dataclass(frozen=True)
class PackageState:
    """A required package: the requirement as pip reads it, its name, and the version that is there (None if none)."""

    requirement: str
    name: str
    installed: str | None
    is_enough: bool

    def text(self) -> str:
        """One status line."""
        if self.installed is None:
            return f"{self.name}: missing"
        return f"{self.name} {self.installed}" + ("" if self.is_enough else f": too old, needs {self.requirement}")


def required(requirements_file: Path) -> list[str]:
    """All requirements, torch first: it is the largest, and others would pull a wrong one."""
    lines = (line.strip() for line in requirements_file.read_text(encoding="utf-8").splitlines())
    return [TORCH, *(line for line in lines if line and not line.startswith("#"))]


def states(requirements_file: Path) -> list[PackageState]:
    """The state of every requirement, without importing any of them."""
    return [_state(requirement) for requirement in required(requirements_file)]


def missing(requirements_file: Path) -> list[str]:
    """Requirements that are not met."""
    return [state.requirement for state in states(requirements_file) if not state.is_enough]


def install(requirements_file: Path) -> None:
    """Install what is missing through Slicer's own ways, which ask the user; torch through the PyTorch extension.

    Can be called again after it was interrupted: what is there by then is not asked for. Raises DependencyError.
    """
    if TORCH in missing(requirements_file):
        _install_torch()
    if set(missing(requirements_file)) - {TORCH}:
        _install_others(requirements_file)


def _install_torch() -> None:
    try:
        import PyTorchUtils  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise DependencyError(
            "PyTorch is installed by the extension 'PyTorch', which is not there.",
            "Install it in the Extensions Manager, restart 3D Slicer, and press the button again.",
        ) from error
    logic: Any = PyTorchUtils.PyTorchUtilsLogic()
    if logic.installTorch(askConfirmation=True, torchVersionRequirement=TORCH.removeprefix("torch")) is None:
        raise DependencyError("PyTorch was not installed.", "Press the button again to go on.")


def _install_others(requirements_file: Path) -> None:
    try:
        from slicer import packaging
    except ImportError as error:
        raise DependencyError(f"Installing packages needs {_OLDEST_SLICER} or newer.", "Update 3D Slicer.") from error
    # monai asks for torch; the one that suits this computer was chosen above.
    requirements = packaging.load_requirements(str(requirements_file))
    packaging.pip_ensure(requirements, skip_packages=["torch"], requester="BrainAnomaly")


def _state(requirement: str) -> PackageState:
    name, _operator, wanted = re.split(r"(>=|$)", requirement, maxsplit=1)
    installed = _installed_version(name)
    enough = installed is not None and _numbers(installed) >= _numbers(wanted)
    return PackageState(requirement, name, installed, enough or installed == _UNKNOWN)


_UNKNOWN = "(version unknown)"


def _installed_version(name: str) -> str | None:
    """The version of a package, without importing it; applications may bring packages of which no version is known."""
    try:
        if find_spec(name) is None:
            return None
    except (ImportError, ValueError):
        return None
    try:
        return version(name)
    except PackageNotFoundError:
        return _UNKNOWN


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text.split("+")[0])[:3])
