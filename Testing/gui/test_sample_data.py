"""The demonstration case in the Sample Data module: what is registered, and that the file is what Slicer will read."""

import numpy as np
import pytest
import slicer
import vtk

from BrainAnomalyLib.io.geometry import Grid
from BrainAnomalyLib.io.volumes import Scan
from BrainAnomalyLib.slicer.panel import sample_data
from make_sample_data import THUMBNAIL_PATH, THUMBNAIL_PIXELS, as_bytes


@pytest.fixture
def source(host):
    """The one entry that the module registers when the application has started."""
    import SampleData

    SampleData.SampleDataLogic.sources.clear()
    host.open("BrainAnomaly")
    assert SampleData.SampleDataLogic.sources == []
    slicer.app.startupCompleted.emit()
    (entry,) = SampleData.SampleDataLogic.sources
    return entry


def test_the_case_is_registered_with_its_checksum(source):
    assert source["sampleName"] == source["nodeNames"] == "BrainAnomalyDemo"
    assert source["uris"].startswith("https://github.com/SlicerBrainAnomaly/SlicerBrainAnomaly/releases/download/")
    assert source["uris"].endswith(source["fileNames"])
    algorithm, value = source["checksums"].split(":")
    assert algorithm == "SHA256"
    assert len(bytes.fromhex(value)) == 32
    assert set(value) != {"0"}


def test_the_thumbnail_is_there_in_the_size_slicer_shows(source):
    from PySide6.QtGui import QImage

    image = QImage(source["thumbnailFileName"])
    assert (image.width(), image.height()) == THUMBNAIL_PIXELS


def test_without_the_sample_data_module_nothing_happens(host, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "SampleData", None)
    sample_data.register(THUMBNAIL_PATH.parents[1])


def test_slicer_reads_the_voxels_where_they_belong(host, tmp_path):
    affine = np.array([[-1.0, 0.1, 0.0, 30.0], [-0.1, -1.0, 0.0, 40.0], [0.0, 0.0, 1.5, -20.0], [0.0, 0.0, 0.0, 1.0]])
    scan = Scan(np.arange(60, dtype=np.float32).reshape(3, 4, 5) + 0.4, Grid((3, 4, 5), affine), "T1w", "demo")
    assert as_bytes(scan) == as_bytes(scan)
    path = tmp_path / sample_data.FILE_NAME
    path.write_bytes(as_bytes(scan))
    node = slicer.util.loadVolume(str(path))
    assert np.array_equal(slicer.util.arrayFromVolume(node).transpose(2, 1, 0), np.floor(scan.array))
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    assert np.allclose(slicer.util.arrayFromVTKMatrix(matrix), affine, atol=1e-4)
