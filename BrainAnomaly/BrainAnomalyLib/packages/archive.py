"""Packages as files to hand on: a zip or a folder brought in after it was checked, a package written as one zip.

A zip is a stranger's until it is proven to be a package: every member's name, kind and size is checked before a byte is
unpacked, it is unpacked beside its later place, verified there, and only then renamed into place.
"""

from __future__ import annotations

import re
import shutil
import stat
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NoReturn

from ..errors import BrainAnomalyError, OptionsError, OutputError, PackageError
from .read import HASHES, LARGEST_BYTES, Package, hash_list, is_inside, read_package, unlisted_files

MOST_MEMBERS = 256
# Deflate cannot shrink more than about 1030 times; weights shrink 1.1 times and maps with empty margins 10 times.
MOST_GROWTH = 200
GROWTH_COUNTS_FROM_BYTES = 64 * 1024**2
_CHUNK_BYTES = 1024**2
_FILE_MODE = 0o644
_EPOCH = (1980, 1, 1, 0, 0, 0)
_UTF8_NAME, _ENCRYPTED = 0x800, 0x1
_LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}
_ASK = "Ask for the package again, or export it again."
_DO_NOT = "Do not use it."


def import_files(source: Path, into: Path) -> Package:
    """Bring a package (zip or folder) into the folder ``into`` under its own name; verified before it appears there.

    The same package again is simply opened. Raises PackageError for what is no package, damaged, unsafe, incompatible
    or of a taken name, OutputError where it cannot be written.
    """
    source, into = Path(source), Path(into)
    _require_readable(source)
    with _scratch(into) as scratch:
        place = scratch / "package"
        name = _copied(source, place) if source.is_dir() else _unpacked(source, place)
        return _placed(place, into / folder_name(name))


def export_files(folder: Path, target: Path) -> Path:
    """Write a verified package as one zip, byte for byte the same for the same package; replaces an earlier zip.

    Raises PackageError for a package that does not verify, OptionsError for another ending, OutputError.
    """
    package = read_package(folder)
    folder, target = package.folder.resolve(), Path(target).absolute()
    if target.suffix.lower() != ".zip" or target.is_dir():
        raise OptionsError(f"'{target.name}' is not a name for a zip file.", "Choose a file name that ends in .zip.")
    if target.resolve().is_relative_to(folder):
        raise OptionsError("The zip file cannot lie inside the package.", "Choose a place outside of it.")
    with _scratch(target.parent) as scratch:
        aside = scratch / "package.zip"
        with zipfile.ZipFile(aside, "w") as archive:
            for name in sorted({*hash_list(folder), HASHES}):
                _add(archive, folder / name, f"{folder.name}/{name}")
        aside.replace(target)
    return target


def _require_readable(source: Path) -> None:
    if not source.exists():
        raise PackageError(f"There is no file or folder '{source}'.", "Check the path.")
    try:
        if source.is_file():
            source.open("rb").close()
    except OSError as error:
        raise PackageError(f"'{source.name}' cannot be read: {error.strerror}.", "Check its permissions.") from error


def folder_name(name: str) -> str:
    """A name that every system takes for a folder: letters of any script, digits, spaces and ``. _ -``."""
    plain = re.sub(r"[^\w .-]", "_", unicodedata.normalize("NFC", name)).strip(" .")
    return plain[:100].rstrip(" .") or "package"


@contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    """A hidden folder in ``parent`` that is gone afterwards; failures of the disk in plain words."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".incoming-", dir=parent) as scratch:
            yield Path(scratch)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError(
            f"The package cannot be written to '{parent}': {reason}.",
            "Check that the disk has space and the folder may be written.",
        ) from error


def _placed(place: Path, target: Path) -> Package:
    """Verify an unpacked package and rename it into place."""
    package = read_package(place)
    extra = unlisted_files(place)
    if extra:
        raise PackageError(f"The package holds files that its hash list does not name: {extra[0]}.", _DO_NOT)
    if target.exists():
        return _same(package, target)
    place.rename(target)
    return Package(target, package.metadata, package.recipe, package.identity)


def _same(package: Package, target: Path) -> Package:
    """The package that is there already if it is the same one, else an error."""
    try:
        present = read_package(target)
    except BrainAnomalyError:
        present = None
    if present is None or present.identity != package.identity:
        raise PackageError(
            f"There is another model named '{target.name}' already.", "Delete it first, or rename the file you import."
        )
    return present


def _copied(source: Path, place: Path) -> str:
    """Copy the listed files of a package folder; links are never followed."""
    listed = hash_list(source)
    if len(listed) >= MOST_MEMBERS:
        raise PackageError(f"'{source.name}' names too many files for a package.", _DO_NOT)
    for name in (*listed, HASHES):
        path = source / name
        if any(part.is_symlink() for part in (path, *path.parents) if part.is_relative_to(source) and part != source):
            raise PackageError(f"The file {name} of '{source.name}' is a link.", _DO_NOT)
        if not path.is_file():
            raise PackageError(f"The model package '{source.name}' lacks the file {name}.", _ASK)
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place / name)
    return source.resolve().name


def _unpacked(source: Path, place: Path) -> str:
    """Unpack a zip's package into ``place`` and return the package's name."""
    try:
        with zipfile.ZipFile(source) as archive:
            members = _checked(archive, source)
            top = _top_folder(members, source)
            _require_space(members, place.parent)
            for member in members:
                _extract(archive, member, place / PurePosixPath(member.filename).relative_to(top))
    except (zipfile.BadZipFile, zlib.error, EOFError, UnicodeDecodeError, NotImplementedError, RuntimeError) as error:
        raise PackageError(f"'{source.name}' is not a whole zip file: it is damaged or incomplete.", _ASK) from error
    return top.name or source.stem


def _checked(archive: zipfile.ZipFile, source: Path) -> list[zipfile.ZipInfo]:
    """The files of a zip, litter left out, once all of them are harmless. Raises PackageError."""
    listed = archive.infolist()
    if len(listed) > MOST_MEMBERS:
        _refuse(source, f"it holds {len(listed)} files, more than any package does")
    for member in listed:
        reason = _member_fault(member)
        if reason:
            _refuse(source, f"its member {member.filename[:80]!r} {reason}")
    members = [member for member in listed if not member.is_dir() and not _is_litter(member.filename)]
    _check_names_differ(members, source)
    _check_size(members, source)
    return members


def _member_fault(member: zipfile.ZipInfo) -> str:
    """Why a member must not be unpacked; empty if nothing speaks against it."""
    kind = stat.S_IFMT(member.external_attr >> 16)
    faults = {
        "points outside the package": not is_inside(member.orig_filename.rstrip("/")),
        "is a link or a device": kind not in (0, stat.S_IFREG, stat.S_IFDIR),
        "is encrypted": bool(member.flag_bits & _ENCRYPTED),
        "has a name that is not in UTF-8": not (member.flag_bits & _UTF8_NAME or member.filename.isascii()),
        "is packed by a method that is not used here": member.compress_type
        not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
    }
    return next((reason for reason, found in faults.items() if found), "")


def _is_litter(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return parts[0] == "__MACOSX" or parts[-1] in _LITTER


def _check_names_differ(members: list[zipfile.ZipInfo], source: Path) -> None:
    """Names that some file systems take for one another count as the same."""
    seen: set[str] = set()
    for member in members:
        key = unicodedata.normalize("NFC", PurePosixPath(member.filename).as_posix()).casefold()
        if key in seen:
            _refuse(source, f"it holds {member.filename[:80]!r} twice")
        seen.add(key)


def _check_size(members: list[zipfile.ZipInfo], source: Path) -> None:
    total = sum(member.file_size for member in members)
    growth = total / max(source.stat().st_size, 1)
    if total > LARGEST_BYTES or (total > GROWTH_COUNTS_FROM_BYTES and growth > MOST_GROWTH):
        _refuse(source, f"it would grow to {total / 1024**2:.0f} MB, which no package does")


def _top_folder(members: list[zipfile.ZipInfo], source: Path) -> PurePosixPath:
    """The folder of the zip that is the package: the root or the one folder that everything lies in."""
    lists = [path.parent for member in members if (path := PurePosixPath(member.filename)).name == HASHES]
    tops = [folder for folder in lists if len(folder.parts) <= 1]
    if len(tops) != 1:
        count = "no" if not tops else "more than one"
        raise PackageError(f"'{source.name}' holds {count} model package.", f"A package's zip holds one {HASHES}.")
    if any(not PurePosixPath(member.filename).is_relative_to(tops[0]) for member in members):
        _refuse(source, "it holds other files beside the package")
    return tops[0]


def _require_space(members: list[zipfile.ZipInfo], folder: Path) -> None:
    needed = sum(member.file_size for member in members)
    if shutil.disk_usage(folder).free < needed:
        message = f"The disk has too little space: the package needs {needed / 1024**2:.0f} MB."
        raise OutputError(message, "Free some space.")


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    """Write one member, never more than it states; its checksum is checked at its end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    left = member.file_size
    with archive.open(member) as packed, path.open("xb") as unpacked:
        while chunk := packed.read(_CHUNK_BYTES):
            left -= len(chunk)
            if left < 0:
                raise zipfile.BadZipFile("a member is larger than it states")
            unpacked.write(chunk)
    if left:
        raise zipfile.BadZipFile("a member is smaller than it states")


def _add(archive: zipfile.ZipFile, path: Path, name: str) -> None:
    """Add one file with fixed time and permissions; tensors hardly shrink and are stored as they are."""
    member = zipfile.ZipInfo(unicodedata.normalize("NFC", name), date_time=_EPOCH)
    member.external_attr = (stat.S_IFREG | _FILE_MODE) << 16
    member.create_system = 3
    member.compress_type = zipfile.ZIP_STORED if path.suffix == ".safetensors" else zipfile.ZIP_DEFLATED
    member.file_size = path.stat().st_size
    with path.open("rb") as stream, archive.open(member, "w") as packed:
        shutil.copyfileobj(stream, packed, _CHUNK_BYTES)


def _refuse(source: Path, reason: str) -> NoReturn:
    raise PackageError(f"'{source.name}' is not a safe package: {reason}.", _DO_NOT)
