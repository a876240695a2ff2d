"""Where a result comes from: what a writer may need besides the detection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..io.geometry import Grid


@dataclass(frozen=True)
class Words:
    """What the reader asks for besides the findings.

    ``named`` lets the scan's name appear, which may be a person's; ``heading`` is a line of the reader's own below the
    title, such as a name or a date.
    """

    named: bool = False
    heading: str = ""


@dataclass(frozen=True, eq=False)
class Origin:
    """``path`` that the scan was read from, None where there is none; or the DICOM ``images`` it was loaded from.

    ``series`` is the one that was chosen of several in the folder ``path``.

    ``image_grid`` is where the images have the scan, None for where the detection has it. ``words`` are for the report:
    what of names it may say.
    ``algorithm`` names what made the result, "" for this program.
    """

    path: Path | None = None
    images: Sequence[Path] | None = None
    image_grid: Grid | None = None
    words: Words = Words()
    algorithm: str = ""
    series: str | None = None

    def dicom_images(self) -> Sequence[Path]:
        """The DICOM images, none for a scan from other files. Raises ScanError for a folder without a series."""
        from ..io.dicom import series_files

        if self.images is not None:
            return self.images
        return series_files(self.path, self.series) if self.path is not None and self.path.is_dir() else ()
