"""Packages as zip files: what goes out comes back, what a stranger made is refused and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import stat
import warnings
import zipfile
from pathlib import Path

import pytest

from BrainAnomalyLib.errors import OptionsError, OutputError, PackageError
from BrainAnomalyLib.packages import archive as package_files
from BrainAnomalyLib.packages.archive import MOST_MEMBERS, export_files, folder_name, import_files
from BrainAnomalyLib.packages.read import HASHES, METADATA, WEIGHTS, Package, write_hashes
from made_package import edit_metadata, make_package

NAME = "Größe 測試 model"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return make_package(tmp_path_factory.mktemp("made") / NAME)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models of Zoë"


@pytest.fixture
def archive(made: Package, tmp_path: Path) -> Path:
    return export_files(made.folder, tmp_path / "out ä.zip")


def refused(source: Path, models: Path, match: str) -> None:
    """The import fails in plain words and the models folder stays empty."""
    with pytest.raises(PackageError, match=match) as caught:
        import_files(source, models)
    assert caught.value.remedy
    assert "Traceback" not in caught.value.sentence()
    assert not models.exists() or list(models.iterdir()) == []


def test_a_package_goes_out_and_comes_back(made, archive, models):
    package = import_files(archive, models)
    assert package.folder == models / NAME
    assert package.identity == made.identity
    assert [path.name for path in models.iterdir()] == [NAME]
    assert stat.S_IMODE(package.folder.stat().st_mode) & 0o055 == 0o055 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_folder_is_imported_without_what_lies_beside_the_listed_files(made, tmp_path, models):
    source = shutil.copytree(made.folder, tmp_path / "source")
    (source / "notes.txt").write_text("mine")
    package = import_files(source, models)
    assert package.folder == models / "source"
    assert not (package.folder / "notes.txt").exists()


def test_the_same_package_exports_to_the_same_bytes(made, archive, tmp_path):
    assert export_files(made.folder, tmp_path / "again.zip").read_bytes() == archive.read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_importing_twice_is_no_error_but_another_package_of_that_name_is(made, archive, models, tmp_path):
    first = import_files(archive, models)
    assert import_files(archive, models).folder == first.folder
    other = shutil.copytree(made.folder, tmp_path / NAME)
    edit_metadata(other, description="another")
    with pytest.raises(PackageError, match="another model named"):
        import_files(other, models)
    assert import_files(archive, models).identity == made.identity


def test_a_broken_package_of_that_name_is_kept_and_told(archive, models):
    (models / NAME).mkdir(parents=True)
    with pytest.raises(PackageError, match="another model named"):
        import_files(archive, models)
    assert (models / NAME).is_dir()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_truncated_zip_is_refused(archive, models, share):
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * share)])
    refused(archive, models, "damaged or incomplete")


def test_a_flipped_byte_inside_a_member_is_refused(archive, models):
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 0xFF
    archive.write_bytes(content)
    refused(archive, models, "damaged or incomplete")


def test_a_file_of_another_kind_is_refused(tmp_path, models):
    (tmp_path / "scan.nii.gz").write_bytes(os.urandom(5000))
    refused(tmp_path / "scan.nii.gz", models, "not a whole zip")
    refused(tmp_path / "missing.zip", models, "no file or folder")


def test_a_foreign_zip_is_refused(tmp_path, models):
    with zipfile.ZipFile(tmp_path / "holiday.zip", "w") as archive:
        archive.writestr("picture.jpg", b"picture")
    refused(tmp_path / "holiday.zip", models, "holds no model package")


def test_a_folder_that_is_no_package_is_refused(tmp_path, models):
    refused(tmp_path, models, "not a model package")


def _with(archive: Path, *members: tuple[zipfile.ZipInfo | str, bytes]) -> Path:
    with zipfile.ZipFile(archive, "a") as opened:
        for member, content in members:
            opened.writestr(member, content)
    return archive


@pytest.mark.parametrize(
    "name", ["/etc/cron.d/x", "../x", f"{NAME}/../../x", "C:/x", "C:x", f"{NAME}\\..\\x", "\\\\host\\share\\x", "a/.."]
)
def test_a_member_that_points_outside_is_refused(archive, models, name):
    member = zipfile.ZipInfo("placeholder")
    member.filename = member.orig_filename = name
    refused(_with(archive, (member, b"x")), models, "points outside")
    assert not (models.parent / "x").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_a_link_or_device_is_refused(archive, models, kind):
    member = zipfile.ZipInfo(f"{NAME}/link")
    member.create_system, member.external_attr = 3, (kind | 0o777) << 16
    refused(_with(archive, (member, b"/etc/passwd")), models, "link or a device")


@pytest.mark.parametrize("name", [f"{NAME}/{METADATA}", f"{NAME}/CONFIGS/metadata.json", f"{NAME}/license"])
def test_a_name_that_comes_twice_is_refused(archive, models, name):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicate name")
        _with(archive, (name, b"{}"))
    refused(archive, models, "twice")


def test_too_many_members_are_refused(archive, models):
    refused(_with(archive, *((f"{NAME}/{index}", b"") for index in range(MOST_MEMBERS))), models, "more than any")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, models):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr(HASHES, "{}")
        with archive.open("zeros", "w") as stream:
            for _ in range(80):
                stream.write(bytes(1024**2))
    assert (tmp_path / "bomb.zip").stat().st_size < 1024**2
    refused(tmp_path / "bomb.zip", models, "would grow to 80 MB")


def test_a_member_that_is_larger_than_it_states_is_refused(archive, models):
    """The central directory and the local header state 10 bytes; the data hold the real file."""
    with zipfile.ZipFile(archive) as opened:
        member = next(entry for entry in opened.infolist() if entry.filename.endswith("LICENSE"))
        content = opened.read(member)
    packed = archive.read_bytes()
    size = len(content).to_bytes(4, "little")
    assert packed.count(size) >= 2
    for place in (member.header_offset + 22, packed.rfind(member.filename.encode()) - 46 + 24):
        assert packed[place : place + 4] == size
        packed = packed[:place] + (1).to_bytes(4, "little") + packed[place + 4 :]
    archive.write_bytes(packed)
    refused(archive, models, "damaged or incomplete")


def test_more_than_the_largest_size_is_refused(archive, models, monkeypatch):
    monkeypatch.setattr(package_files, "LARGEST_BYTES", 1000)
    refused(archive, models, "would grow")


def test_a_name_in_another_encoding_is_refused(archive, models):
    content = archive.read_bytes()
    plain = NAME.encode()
    assert plain in content
    with zipfile.ZipFile(archive) as opened:
        offsets = [member.header_offset for member in opened.infolist()]
    changed = bytearray(content)
    for offset in offsets:
        changed[offset + 7] &= ~0x08
    start = 0
    while (start := changed.find(b"PK\x01\x02", start)) >= 0:
        changed[start + 9] &= ~0x08
        start += 4
    archive.write_bytes(changed)
    refused(archive, models, "not in UTF-8")


def test_broken_utf8_in_a_name_is_refused(archive, models):
    archive.write_bytes(archive.read_bytes().replace("ß".encode(), b"\xff\xff"))
    refused(archive, models, "damaged or incomplete")


def test_an_encrypted_member_is_refused(archive, models):
    changed = bytearray(archive.read_bytes())
    start = changed.find(b"PK\x01\x02")
    changed[start + 8] |= 1
    archive.write_bytes(changed)
    refused(archive, models, "encrypted")


def test_other_packing_methods_are_refused(made, tmp_path, models):
    with zipfile.ZipFile(tmp_path / "lzma.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.write(made.folder / HASHES, HASHES)
    refused(tmp_path / "lzma.zip", models, "method")


def test_files_beside_the_package_are_refused_but_litter_is_not(archive, models):
    _with(archive, ("__MACOSX/._x", b""), (f"{NAME}/.DS_Store", b""))
    assert import_files(archive, models).folder.is_dir()
    assert not list(models.rglob(".DS_Store"))
    shutil.rmtree(models)
    refused(_with(archive, ("setup.py", b"")), models, "other files beside")


def test_files_that_the_hash_list_does_not_name_are_refused(archive, models):
    refused(_with(archive, (f"{NAME}/models/run.py", b"")), models, "hash list does not name")


def test_two_packages_in_one_zip_are_refused(archive, models):
    refused(_with(archive, ("second/SHA256SUMS.json", b"{}")), models, "more than one")


def test_a_package_that_does_not_verify_is_never_in_place(made, tmp_path, models):
    source = shutil.copytree(made.folder, tmp_path / "changed")
    (source / WEIGHTS).write_bytes((source / WEIGHTS).read_bytes()[:-1] + b"\x7f")
    refused(source, models, "changed or damaged")
    edit_metadata(source, contrasts=["CT"])
    refused(source, models, "not valid")


def test_a_package_zipped_by_hand_without_a_folder_is_named_by_its_file(made, tmp_path, models):
    with zipfile.ZipFile(tmp_path / "by hand.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(made.folder.rglob("*")):
            archive.write(path, path.relative_to(made.folder))
    assert import_files(tmp_path / "by hand.zip", models).folder == models / "by hand"


def test_links_in_a_folder_are_not_followed(made, tmp_path, models):
    source = shutil.copytree(made.folder, tmp_path / "linked")
    (tmp_path / "secret").write_text("secret")
    (source / "LICENSE").unlink()
    (source / "LICENSE").symlink_to(tmp_path / "secret")
    write_hashes(source)
    refused(source, models, "is a link")


def test_a_disk_that_cannot_be_written_is_told(archive, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        import_files(archive, tmp_path / "file")
    monkeypatch.setattr(package_files.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(OutputError, match="too little space"):
        import_files(archive, tmp_path / "full")


def test_an_interrupted_import_leaves_nothing(archive, models, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(package_files, "_placed", interrupt)
    with pytest.raises(KeyboardInterrupt):
        import_files(archive, models)
    assert list(models.iterdir()) == []


def test_export_refuses_odd_targets_and_replaces_a_zip_at_once(made, tmp_path):
    with pytest.raises(OptionsError, match="not a name for a zip"):
        export_files(made.folder, tmp_path / "scan.nii")
    with pytest.raises(OptionsError, match="inside the package"):
        export_files(made.folder, made.folder / "x.zip")
    (tmp_path / "old.zip").write_text("old")
    assert zipfile.is_zipfile(export_files(made.folder, tmp_path / "old.zip"))


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        *(("a/b:c*", "a_b_c_"), ("  .hidden. ", "hidden"), ("...", "package")),
        *(("Größe 1.0", "Größe 1.0"), ("x" * 300, "x" * 100)),
    ],
)
def test_folder_names_suit_every_system(name, folder):
    assert folder_name(name) == folder
