"""Which of several DICOM series in a folder is meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import ScanError

_MOST_LISTED = 12
_FEWEST_OF_A_VOLUME = 5


def one_series(folder: Path, headers: dict[Path, Any], chosen: str | None = None) -> list[Path]:
    """Files of the only series, or of the one ``chosen`` by number or UID. Raises ScanError with a numbered list."""
    series: dict[str, list[Path]] = {}
    for path, header in headers.items():
        series.setdefault(str(header.SeriesInstanceUID), []).append(path)
    ordered = dict(sorted(series.items(), key=lambda item: _number(headers[item[1][0]])))
    if chosen is not None:
        return _chosen(folder, ordered, headers, chosen)
    if len(ordered) == 1:
        return next(iter(ordered.values()))
    raise ScanError(
        f"The folder '{folder}' holds {len(ordered)} series.",
        f"Choose one by its number or UID (--series); {_largest(ordered, headers)} is the largest volume:\n"
        f"{_listed(ordered, headers)}",
    )


def _chosen(folder: Path, series: dict[str, list[Path]], headers: dict[Path, Any], chosen: str) -> list[Path]:
    if chosen in series:
        return series[chosen]
    if chosen.isdigit() and 1 <= int(chosen) <= len(series):
        return list(series.values())[int(chosen) - 1]
    raise ScanError(
        f"The folder '{folder}' has no series '{chosen}'.", f"Choose one of these:\n{_listed(series, headers)}"
    )


def _listed(series: dict[str, list[Path]], headers: dict[Path, Any]) -> str:
    """A line for every series: number, description, size, spacing, date."""
    lines = [f"  {number}. {_line(files, headers)}" for number, files in enumerate(series.values(), 1)]
    more = [f"  and {len(lines) - _MOST_LISTED} more"] if len(lines) > _MOST_LISTED else []
    return "\n".join(lines[:_MOST_LISTED] + more)


def _line(files: list[Path], headers: dict[Path, Any]) -> str:
    header = headers[files[0]]
    count = max(len(files), int(header.get("NumberOfFrames", 1) or 1))
    spacing = [float(size) for size in header.get("PixelSpacing", None) or []]
    thickness = header.get("SliceThickness", None)
    sizes = [f"{size:g}" for size in spacing] + ([f"{float(thickness):g}"] if thickness else [])
    date = str(header.get("SeriesDate", "") or header.get("StudyDate", ""))
    parts = [
        str(header.get("SeriesDescription", "") or "unnamed"),
        f"{header.Columns} x {header.Rows} x {count} voxels",
        f"{' x '.join(sizes)} mm" if sizes else "",
        f"{date[:4]}-{date[4:6]}-{date[6:]}" if len(date) == 8 else "",
    ]
    return ", ".join(part for part in parts if part)


def _largest(series: dict[str, list[Path]], headers: dict[Path, Any]) -> str:
    """Number of the series with the most voxels."""
    sizes = [_voxels(files, headers) for files in series.values()]
    return f"number {1 + sizes.index(max(sizes))}"


def _voxels(files: list[Path], headers: dict[Path, Any]) -> int:
    """Voxels of a series whose slices lie parallel; of a localizer, one slice."""
    header = headers[files[0]]
    turns = {tuple(map(float, headers[path].get("ImageOrientationPatient", None) or ())) for path in files}
    count = max(len(files), int(header.get("NumberOfFrames", 1) or 1))
    whole = len(turns) == 1 and count >= _FEWEST_OF_A_VOLUME
    return int(header.Columns) * int(header.Rows) * (count if whole else 1)


def _number(header: Any) -> tuple[float, str]:
    """Series in the order of their numbers."""
    number = str(header.get("SeriesNumber", "") or "")
    return (float(number) if number.isdigit() else float("inf"), str(header.SeriesInstanceUID))
