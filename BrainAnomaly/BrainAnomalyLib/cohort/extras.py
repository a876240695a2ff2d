"""What cohorts need besides the engine's own requirements."""

from __future__ import annotations

from importlib.util import find_spec

from ..errors import DependencyError

_PACKAGES = (
    "bids",
    "dask",
    "dask_jobqueue",
    "distributed",
    "filelock",
    "pandas",
    "pathspec",
    "psutil",
    "pyarrow",
    "tqdm",
)


def check_extras() -> None:
    """Raise DependencyError, naming all, where Python packages are missing."""
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise DependencyError(
            f"Python packages are not installed: {', '.join(missing)}.", "Install brain-anomaly[cohort]."
        )
