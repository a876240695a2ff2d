"""What a result is exported as; files in the scan's own geometry, each whole or not at all."""

from __future__ import annotations

import csv
import re
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import slicer

from ....detection import Detection
from ....errors import OutputError, ScanError
from ....findings.table import Findings
from ....io.geometry import Grid
from ....io.volumes import write_volume
from ....output.folder import volumes_of
from ....output.formats import FORMATS, write_formats
from ....output.origin import Origin, Words
from ...scene.links import VolumeNode
from ...scene.run_record import RunRecord
from ...scene.scene_volumes import local_affine

INSTANCES_ATTRIBUTE = "DICOM.instanceUIDs"
_CSV_HEADER = (
    *("id", "volume_ml", "peak", "mean", "side", "region", "tissue", "place", "looks", "review"),
    *("centroid_r", "centroid_a", "centroid_s", "template_x", "template_y", "template_z"),
)
# The scene keeps no brain mask, the absolute residual is that without its sign, and structures only name regions.
_NOT_EXPORTED = ("brain_mask", "residual_absolute", "structures")


def file_stem(name: str) -> str:
    """A file name for a scan of any name: letters and digits of any script, the rest as underscores."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._") or "scan"


def export_volumes(detection: Detection, folder: Path, extension: str) -> list[Path]:
    """Write every volume of the result as ``<scan>_<volume><extension>``. Raises OutputError."""
    stem = file_stem(detection.scan.name)
    volumes = {name: array for name, array in volumes_of(detection).items() if name not in _NOT_EXPORTED}
    try:
        with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as scratch:
            for name, array in volumes.items():
                write_volume(Path(scratch, f"{stem}_{name}{extension}"), array, detection.scan.grid)
            return [path.replace(folder / path.name) for path in sorted(Path(scratch).iterdir())]
    except OSError as error:
        raise _not_written(folder, error) from error


def export_csv(findings: Findings, rejected: frozenset[int], scan_name: str, folder: Path) -> Path:
    """Write all findings, the rejected ones marked, as ``<scan>_findings.csv``. Raises OutputError."""
    path = folder / f"{file_stem(scan_name)}_findings.csv"
    try:
        with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as scratch:
            fresh = Path(scratch, path.name)
            with fresh.open("w", newline="", encoding="utf-8") as stream:
                writer = csv.writer(stream)
                writer.writerow(_CSV_HEADER)
                for row in findings.table:
                    review = "rejected" if row.id in rejected else "kept"
                    measures = (row.id, row.volume_ml, row.peak, row.mean)
                    words = (row.side, row.region, row.tissue, row.place, row.looks, review)
                    writer.writerow((*measures, *words, *row.centroid_ras, *row.centroid_template))
            return fresh.replace(path)
    except OSError as error:
        raise _not_written(folder, error) from error


def export_format(
    name: str, detection: Detection, rejected: int, input_node: VolumeNode, record: RunRecord, folder: Path
) -> Path:
    """Write the result in a format of ``output.formats`` as ``<scan>_<its files>``. Raises BrainAnomalyError."""
    images = dicom_files(input_node) if FORMATS[name].needs_dicom else None
    grid = Grid(detection.scan.grid.shape, local_affine(input_node))
    origin = Origin(None, images, grid, Words(rejected=rejected), record.algorithm_name)
    stem = file_stem(detection.scan.name)
    # The scene keeps no brain mask: without one the pictures show the whole head.
    whole = replace(detection, brain_mask=np.ones_like(detection.brain_mask))
    try:
        with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as scratch:
            write_formats(whole, Path(scratch), (name,), origin)
            if not Path(scratch, FORMATS[name].file).exists():
                raise ScanError("There is no finding to export.", "Lower the threshold or keep a finding.")
            for written in sorted(Path(scratch).iterdir()):
                written.replace(folder / f"{stem}_{written.name}")
            return folder / f"{stem}_{FORMATS[name].file}"
    except OSError as error:
        raise _not_written(folder, error) from error


def is_from_dicom(input_node: VolumeNode) -> bool:
    """Whether the scan was loaded from DICOM images."""
    return bool(input_node.GetAttribute(INSTANCES_ATTRIBUTE))


def dicom_files(input_node: VolumeNode) -> list[Path]:
    """The files of the scan's DICOM images, from Slicer's database. Raises ScanError if one is not there."""
    database = getattr(slicer, "dicomDatabase", None)
    names = (input_node.GetAttribute(INSTANCES_ATTRIBUTE) or "").split()
    paths = [database.fileForInstance(name) for name in names] if database is not None else []
    if not paths or not all(path and Path(path).is_file() for path in paths):
        raise ScanError(
            "The DICOM images of the scan are not in Slicer's database any more.", "Import the series again."
        )
    return [Path(path) for path in paths]


def _not_written(folder: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    return OutputError(f"Nothing could be written to '{folder}': {reason}.", "Choose another folder.")
