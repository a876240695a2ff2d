"""DICOM series anywhere below a folder: which are structural brain MR, and whose."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DependencyError
from .scan_names import contrast_of_words, kind_of, subject_folder
from .volumes import Contrast

_MAGIC_AT, _MAGIC = 128, b"DICM"
_TAGS = (
    "SeriesInstanceUID", "StudyInstanceUID", "PatientID", "PatientAge", "Modality", "ImageType", "SeriesDescription",
    "ProtocolName", "SequenceName", "Manufacturer", "ManufacturerModelName", "MagneticFieldStrength", "StudyDate",
    "NumberOfFrames", "Rows", "SOPClassUID", "ContrastBolusAgent",
)  # fmt: skip
_LOCALIZER = re.compile(r"locali[sz]er|scout|survey|3[-_ ]?plane|smartbrain|aahead|calibration|(?<![a-z])loc", re.I)
_NAMELESS = re.compile(r"0*|anon\w*|unknown|none|patient|subject|id|test", re.IGNORECASE)
_FEWEST_SLICES = 5


@dataclass(frozen=True)
class FoundSeries:
    """A series by what its headers say; ``folder`` holds all its ``files``, maybe among others or further down.

    ``fault`` says in a sentence why it is no structural brain scan, '' where it may be one.
    """

    folder: Path
    files: tuple[Path, ...]
    uid: str
    subject: str
    session: str
    contrast: Contrast
    scanner: str
    age_years: float | None
    fault: str


def find_series(files: Iterable[Path], root: Path) -> list[FoundSeries]:
    """Every series among ``files``, somewhere below ``root``; what is not a DICOM image is passed over."""
    series: dict[str, list[tuple[Path, Any]]] = {}
    for path in files:
        if _is_dicom(path) and (header := _header(path)) is not None:
            series.setdefault(str(header.get("SeriesInstanceUID", path.parent)), []).append((path, header))
    studies = _studies(series)
    return [_found(uid, members, root, studies) for uid, members in series.items()]


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(_MAGIC_AT + len(_MAGIC))[_MAGIC_AT:] == _MAGIC
    except OSError:
        return False


def _header(path: Path) -> Any | None:
    """The tags needed here; None for a DICOM file that is no image. A damaged file counts as one of its folder."""
    try:
        import pydicom
    except ImportError as error:
        raise DependencyError("Reading DICOM needs the Python package pydicom.", "Install pydicom.") from error
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
    except Exception:  # pydicom raises many kinds for damaged files; reading the series will say so
        return pydicom.Dataset()
    return header if "Rows" in header or "SOPClassUID" not in header else None


def _studies(series: dict[str, list[tuple[Path, Any]]]) -> dict[str, list[str]]:
    """PatientID to its studies, in order of date."""
    studies: dict[str, set[tuple[str, str]]] = {}
    for members in series.values():
        header = members[0][1]
        study = (str(header.get("StudyDate", "") or ""), str(header.get("StudyInstanceUID", "")))
        studies.setdefault(str(header.get("PatientID", "")), set()).add(study)
    return {patient: [uid for _, uid in sorted(found)] for patient, found in studies.items()}


def _found(uid: str, members: list[tuple[Path, Any]], root: Path, studies: dict[str, list[str]]) -> FoundSeries:
    header = members[0][1]
    paths = tuple(path for path, _ in members)
    folder = Path(os.path.commonpath([path.parent for path in paths]))
    patient, study = str(header.get("PatientID", "") or "").strip(), str(header.get("StudyInstanceUID", ""))
    named = _NAMELESS.fullmatch(patient) is None
    visits = studies.get(patient, []) if named else []
    return FoundSeries(
        folder=folder,
        files=paths,
        uid=uid,
        subject=patient if named else _folder_name(folder, root, study),
        scanner=scanner_name(header, "Manufacturer", "ManufacturerModelName") or root.name,
        session=f"study-{visits.index(study) + 1}" if len(visits) > 1 else "",
        contrast=contrast_of_words(_description(header)),
        age_years=_age(str(header.get("PatientAge", "") or "")),
        fault=_fault(members),
    )


def scanner_name(values: Any, maker: str, model: str) -> str:
    """``Philips Ingenia 3T`` from a DICOM header or a BIDS sidecar; '' if neither maker nor model is given."""
    parts = [str(values.get(name, "") or "").strip() for name in (maker, model)]
    try:
        field = f"{round(float(values.get('MagneticFieldStrength') or 0), 1):g}T"
    except (TypeError, ValueError):
        field = "0T"
    return " ".join(part for part in (*parts, "" if field == "0T" else field) if part) if any(parts) else ""


def _folder_name(folder: Path, root: Path, study: str) -> str:
    """For anonymous series: the subject's folder, below ``root``; else the end of the study's number."""
    home = subject_folder(folder, root)
    return home.relative_to(root).parts[0] if home != root else f"study {study[-8:]}"


def _description(header: Any) -> str:
    return " ".join(str(header.get(name, "") or "") for name in ("SequenceName", "ProtocolName", "SeriesDescription"))


def _age(text: str) -> float | None:
    match = re.fullmatch(r"(\d+)([DWMY])", text.strip())
    return round(int(match[1]) / {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}[match[2]], 2) if match else None


def _fault(members: list[tuple[Path, Any]]) -> str:
    """Why a series is no structural brain scan, in a sentence; '' if it may be one."""
    header = members[0][1]
    kind = [str(value).upper() for value in header.get("ImageType", None) or ()]
    description = _description(header)
    modality = str(header.get("Modality", "MR"))
    if modality != "MR":
        return f"It is {modality}, not MR."
    if "LOCALIZER" in kind or _LOCALIZER.search(description):
        return "It is a localizer."
    if ("DERIVED" in kind and "PRIMARY" not in kind) or {"MPR", "PROJECTION IMAGE", "MIP"} & set(kind):
        return "It was derived from another series."
    if header.get("ContrastBolusAgent") or kind_of(description) == "contrast agent":
        return "It was taken after a contrast agent."
    if kind_of(description) == "map":
        return "It is not a structural scan."
    if sum(int(one.get("NumberOfFrames", 1) or 1) for _, one in members) < _FEWEST_SLICES:
        return f"It has fewer than {_FEWEST_SLICES} slices."
    return ""
