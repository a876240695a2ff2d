"""Faults of NIfTI files that SimpleITK does not report.

It reads a file that was cut short as if the rest were zero, replaces NaN and infinity by zero, and writes as much as a
full disk takes.
"""

from __future__ import annotations

import errno
import gzip
import math
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np

from .geometry import MaskArray

Fault = Literal["", "incomplete", "not finite", "NIfTI-2"]
_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_HEADER_SIZE = 348
_SECOND_VERSION = 540
# Header and the four bytes after it, as ITK writes files of one volume.
_HEADER_BYTES = 352
# No header is as long as this; NaN and infinity are not below it either.
_FARTHEST = float(1 << 30)
_FLOATS = {16: "f4", 64: "f8"}


class _Content(NamedTuple):
    """What the header promises: where voxels start, how many bytes they take, and their type if floating point."""

    start: int
    size: int
    float_type: str | None


def is_compressed(path: Path) -> bool:
    """Whether a file begins as gzip files do, whatever its name says."""
    with path.open("rb") as stream:
        return stream.read(len(_GZIP)) == _GZIP


@contextmanager
def as_named(path: Path) -> Iterator[Path]:
    """``path``, or for NIfTI whose name is wrong about its compression a copy with a right one, removed afterwards."""
    name = path.name.lower()
    if not name.endswith((".nii", ".nii.gz")) or is_compressed(path) == name.endswith(".gz"):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="brain-anomaly-") as folder:
        yield Path(shutil.copyfile(path, Path(folder) / ("scan.nii.gz" if is_compressed(path) else "scan.nii")))


def nifti_fault(path: Path) -> Fault:
    """What is wrong with a .nii or .nii.gz file (also its checksum, if compressed); empty when it is sound."""
    try:
        with _opened(path) as stream:
            return _fault(stream)
    except (EOFError, gzip.BadGzipFile, zlib.error, struct.error):
        return "incomplete"


def _opened(path: Path) -> BinaryIO | gzip.GzipFile:
    """The file to read, unpacked where it is compressed."""
    return gzip.open(path) if is_compressed(path) else path.open("rb")


def _fault(stream: BinaryIO | gzip.GzipFile) -> Fault:
    header = stream.read(_HEADER_SIZE)
    if _SECOND_VERSION in (struct.unpack_from(order + "i", header)[0] for order in "<>"):
        return "NIfTI-2"
    content = _content(header)
    if content is None:
        return "incomplete"
    stream.read(content.start - _HEADER_SIZE)
    seen, finite = 0, True
    for chunk in _chunks(stream):
        finite = finite and _is_finite(chunk[: max(0, content.size - seen)], content.float_type)
        seen += len(chunk)
    return "incomplete" if seen < content.size else "" if finite else "not finite"


def _content(header: bytes) -> _Content | None:
    """Read dim[8], datatype, bitpix and vox_offset of nifti1.h; None if this is no NIfTI-1 header."""
    for order in "<>":
        if struct.unpack_from(order + "i", header)[0] == _HEADER_SIZE:
            dimensions = struct.unpack_from(order + "8h", header, 40)
            kind, bits = struct.unpack_from(order + "2h", header, 70)
            (start,) = struct.unpack_from(order + "f", header, 108)
            if not -1.0 < start < _FARTHEST:
                return None
            voxels = math.prod(dimensions[1 : dimensions[0] + 1])
            float_type = order + _FLOATS[kind] if kind in _FLOATS else None
            return _Content(max(int(start), _HEADER_SIZE), voxels * bits // 8, float_type)
    return None


def read_header(path: Path) -> bytes:
    """The first 348 bytes of a .nii or .nii.gz file, unpacked."""
    with _opened(path) as stream:
        return stream.read(_HEADER_SIZE)


def byte_order(header: bytes) -> str:
    """``<`` or ``>``: in which order a NIfTI-1 header says its own size."""
    return "<" if struct.unpack_from("<i", header)[0] == _HEADER_SIZE else ">"


def not_finite(path: Path) -> MaskArray:
    """Which stored values of a sound file are NaN or infinite, in the file's order (first axis fastest)."""
    with _opened(path) as stream:
        content = _content(stream.read(_HEADER_SIZE))
        if content is None or content.float_type is None:
            return np.zeros(0, dtype=np.bool_)
        stream.read(content.start - _HEADER_SIZE)
        return np.asarray(~np.isfinite(np.frombuffer(stream.read(content.size), dtype=content.float_type)))


def _chunks(stream: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    """The rest of the stream to its end, which is where a compressed file has its checksum."""
    return iter(lambda: stream.read(_CHUNK), b"")


def _is_finite(chunk: bytes, float_type: str | None) -> bool:
    if float_type is None:
        return True
    whole = len(chunk) // np.dtype(float_type).itemsize * np.dtype(float_type).itemsize
    return bool(np.isfinite(np.frombuffer(chunk[:whole], dtype=float_type)).all())


def check_written(path: Path, voxel_bytes: int) -> None:
    """Raise OSError where a NIfTI-1 file of a single volume is cut short: ITK says nothing of a disk that is full.

    The last four bytes of a gzip file are the size of what was compressed (RFC 1952), which a file cut short has not.
    """
    whole = _HEADER_BYTES + voxel_bytes
    size = path.stat().st_size
    if path.name.lower().endswith(".gz"):
        with path.open("rb") as stream:
            stream.seek(max(0, size - 4))
            size, whole = int.from_bytes(stream.read(4), "little"), whole % 2**32
    if size != whole:
        raise OSError(errno.ENOSPC, "The file is cut short.", str(path))
