"""Make the sample data of the Sample Data module: the demo case as a file for a release, its checksum and thumbnail.

    PYTHONPATH=BrainAnomaly python Utilities/make_sample_data.py FOLDER  # writes BrainAnomalyDemo.nii.gz there
    PYTHONPATH=BrainAnomaly python Utilities/make_sample_data.py FOLDER --thumbnail # and draws the module's thumbnail

The file is to be attached to the release that ``BrainAnomalyLib/slicer/panel/sample_data.py`` names; the checksum
printed must be the one in that file. Voxels are whole numbers and the gzip header has no time, so that equal voxels
give equal bytes.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import sys
from pathlib import Path

import numpy as np

from BrainAnomalyLib.cli.demo import demo_case
from BrainAnomalyLib.io.volumes import Scan
from BrainAnomalyLib.slicer.panel.sample_data import FILE_NAME, THUMBNAIL, checksum

ROOT = Path(__file__).resolve().parents[1]
THUMBNAIL_PATH = ROOT / "BrainAnomaly" / "Resources" / THUMBNAIL
THUMBNAIL_PIXELS = (260, 280)


def main() -> int:
    """Write the file, print its checksum, and say whether the module expects that one."""
    arguments = _parser().parse_args()
    scan = demo_case().scan
    path = arguments.folder / FILE_NAME
    path.write_bytes(as_bytes(scan))
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    print(f"{path} {path.stat().st_size / 1e6:.1f} MB\nSHA256:{found}")
    if arguments.thumbnail:
        draw_thumbnail(scan, THUMBNAIL_PATH)
    if checksum() == f"SHA256:{found}":
        return 0
    print("sample_data.py names another checksum; attach this file to a release and write its checksum there.")
    return 1


def as_bytes(scan: Scan) -> bytes:
    """The scan as a gzipped NIfTI-1 file of 16 bit integers; its affine maps indices to RAS mm."""
    import nibabel

    image = nibabel.Nifti1Image(np.rint(scan.array).astype(np.int16), scan.grid.affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(scan.grid.affine, code=1)
    image.set_qform(scan.grid.affine, code=1)
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, compresslevel=9) as stream:
        stream.write(image.to_bytes())
    return packed.getvalue()


def draw_thumbnail(scan: Scan, path: Path) -> None:
    """An axial slice through the lesion, gray on black, as large as Slicer shows thumbnails."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    middle = scan.array[:, :, scan.array.shape[2] // 2 + 10]
    figure = Figure(figsize=(THUMBNAIL_PIXELS[0] / 100, THUMBNAIL_PIXELS[1] / 100), dpi=100, facecolor="black")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    # The grid is stored left, posterior, superior: rows of the transposed slice run to the back, as a view shows it.
    axes.imshow(middle.T, cmap="gray", vmin=0.0, vmax=float(np.percentile(scan.array[scan.array > 0], 99.5)))
    axes.text(0.5, 0.03, "synthetic lesion", color="#9fd0ff", ha="center", fontsize=8, transform=axes.transAxes)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100, facecolor="black", metadata={"Software": None})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Make the sample data file.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--thumbnail", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
