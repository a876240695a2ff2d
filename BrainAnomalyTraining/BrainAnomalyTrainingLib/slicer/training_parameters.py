"""The settings of the training panel, saved with the scene."""

# ruff: noqa: N815 (scripts in 3D Slicer read these names; they follow its style)

# No postponed annotations here: the wrapper reads the types when the class is made.
from typing import Annotated

from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper


@parameterNodeWrapper
class TrainingParameters:
    """What the panel asks for. Paths are text, because a path edit rewrites paths while the user types.

    ``steps`` 0 means the preset's own number; ``excluded`` are subjects; ``runFolder`` is the run the panel shows.
    """

    cohortFolder: str = ""
    contrast: Annotated[str, Choice(["T1w", "T2w", "FLAIR", "PD"])] = "T1w"
    detector: str = "denoising"
    preset: str = "small"
    device: Annotated[str, Choice(["auto", "cpu", "cuda", "mps"])] = "auto"
    steps: Annotated[int, WithinRange(0, 10_000_000)] = 0
    outputFolder: str = ""
    packageName: str = ""
    site: str = ""
    calibratedPackage: str = ""
    excluded: list[str]
    runFolder: str = ""
