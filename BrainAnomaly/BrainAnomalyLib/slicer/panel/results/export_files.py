"""What a result is exported as; files in the scan's own geometry, each whole or not at all."""

from __future__ import annotations

import csv
import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import slicer

from ....detection import Detection
from ....errors import OutputError, ScanError
from ....io.geometry import Grid
from ....io.volumes import write_volume
from ....output.folder import summary, volumes_of
from ....output.formats import FORMATS, write_formats
from ....output.origin import Origin, Words
from ....output.whole_file import whole_file
from ...scene.nodes.links import VolumeNode
from ...scene.nodes.scene_volumes import local_affine
from ...scene.run_record import RunRecord

INSTANCES_ATTRIBUTE = "DICOM.instanceUIDs"
_CSV_HEADER = (
    *("id", "volume_ml", "peak", "mean", "side", "region", "tissue", "place", "looks", "review", "comment"),
    *("contrasts", "change", "prior_ml", "change_ml", "change_percent"),
    *("centroid_r", "centroid_a", "centroid_s", "template_x", "template_y", "template_z"),
)
_CSV_PLACES = -6
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


def export_csv(detection: Detection, folder: Path) -> Path:
    """Write all findings, the rejected ones marked, as ``<scan>_findings.csv``. Raises OutputError."""
    path = folder / f"{file_stem(detection.scan.name)}_findings.csv"
    with whole_file(path, f"The table '{path}'") as fresh, fresh.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(_CSV_HEADER)
        for row in detection.findings.table:
            named = (getattr(row, name) for name in _CSV_HEADER[:_CSV_PLACES])
            cells = ("" if value is None else value for value in named)
            writer.writerow((*cells, *row.centroid_ras, *row.centroid_template))
    return path


def export_json(detection: Detection, folder: Path) -> Path:
    """Write findings, settings and provenance as ``<scan>_findings.json``. Raises OutputError."""
    path = folder / f"{file_stem(detection.scan.name)}_findings.json"
    with whole_file(path, f"The file '{path}'") as fresh:
        fresh.write_text(json.dumps(summary(detection), indent=2) + "\n", encoding="utf-8")
    return path


def export_format(name: str, detection: Detection, input_node: VolumeNode, record: RunRecord, folder: Path) -> Path:
    """Write the result in a format of ``output.formats`` as ``<scan>_<its files>``. Raises BrainAnomalyError."""
    images = dicom_files(input_node) if FORMATS[name].needs_dicom else None
    grid = Grid(detection.scan.grid.shape, local_affine(input_node))
    origin = Origin(None, images, grid, Words(), record.algorithm_name)
    stem = file_stem(detection.scan.name)
    whole = detection
    if detection.pseudo_healthy is None:
        # Nothing in the scene says where the brain is: the pictures show the whole head.
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
