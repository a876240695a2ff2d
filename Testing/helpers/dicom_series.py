"""Small DICOM series for tests, written from an array and a grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from BrainAnomalyLib.io.geometry import LPS_FROM_RAS, Grid

# What images of a patient carry besides what pixels need.
REFERENCE = {
    "PatientBirthDate": "",
    "PatientSex": "",
    "StudyDate": "20200101",
    "StudyTime": "120000",
    "AccessionNumber": "",
    "StudyID": "1",
    "ReferringPhysicianName": "",
}


def write_series(
    folder: Path, array: np.ndarray, grid: Grid, names: list[str] | None = None, description: str = "T1 3D", **tags
) -> list[Path]:
    """One file per slice k, named by ``names`` or by position; ``tags`` replace or add DICOM elements."""
    folder.mkdir(parents=True, exist_ok=True)
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    paths = []
    for index in range(array.shape[2]):
        dataset = _slice(array[:, :, index], grid, index)
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = series, study, frame
        dataset.SeriesDescription = description
        for name, value in tags.items():
            setattr(dataset, name, value)
        path = folder / (names[index] if names else f"IM{index:04d}.dcm")
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _slice(plane: np.ndarray, grid: Grid, index: int) -> FileDataset:
    """i runs along a row of pixels, j down the rows; DICOM speaks LPS."""
    affine = LPS_FROM_RAS @ grid.affine
    dataset = FileDataset("slice", {}, file_meta=_meta(), preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = MRImageStorage, dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.PatientName, dataset.PatientID, dataset.Modality = "Test^Synthetic", "0", "MR"
    dataset.SeriesNumber, dataset.InstanceNumber = 1, index + 1
    dataset.ImagePositionPatient = [float(f"{value:.8f}") for value in (affine @ [0, 0, index, 1])[:3]]
    direction = (affine[:3, :3] / grid.spacing)[:, :2].T.ravel()
    dataset.ImageOrientationPatient = [float(f"{value:.10f}") for value in direction]
    dataset.PixelSpacing = [float(f"{grid.spacing[1]:.6f}"), float(f"{grid.spacing[0]:.6f}")]
    dataset.SliceThickness = float(f"{grid.spacing[2]:.6f}")
    _set_pixels(dataset, plane)
    return dataset


def _meta() -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return meta


def _set_pixels(dataset: FileDataset, plane: np.ndarray) -> None:
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Columns, dataset.Rows = plane.shape
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = np.ascontiguousarray(plane.T).astype("<u2").tobytes()


def write_multi_frame(
    path: Path, array: np.ndarray, grid: Grid, order: list[int], scaling: list[tuple[float, float]] | None = None
) -> None:
    """One enhanced MR image with its frames stored in ``order``, each with a slope and an intercept of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    slices = [_slice(array[:, :, index], grid, index) for index in order]
    dataset = slices[0]
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = generate_uid(), generate_uid()
    dataset.FrameOfReferenceUID = generate_uid()
    dataset.SeriesDescription, dataset.NumberOfFrames = "T1 enhanced", len(slices)
    shared, plane, measures = Dataset(), Dataset(), Dataset()
    plane.ImageOrientationPatient = dataset.ImageOrientationPatient
    measures.PixelSpacing, measures.SliceThickness = dataset.PixelSpacing, dataset.SliceThickness
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [plane], [measures]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [_position(one) for one in slices]
    for frame, (slope, intercept) in zip(dataset.PerFrameFunctionalGroupsSequence, scaling or [], strict=False):
        values = Dataset()
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = slope, intercept, "US"
        frame.PixelValueTransformationSequence = [values]
    dataset.PixelData = b"".join(one.PixelData for one in slices)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(dataset, name)
    dataset.save_as(path, enforce_file_format=True)


def _position(one: FileDataset) -> Dataset:
    frame, position = Dataset(), Dataset()
    position.ImagePositionPatient = one.ImagePositionPatient
    frame.PlanePositionSequence = [position]
    return frame


def make_color(path: Path) -> None:
    """Turn a written slice into an RGB image."""
    dataset = pydicom.dcmread(path)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelData = b"\x40" * (dataset.Rows * dataset.Columns * 3 + dataset.Rows * dataset.Columns % 2)
    dataset.save_as(path)
