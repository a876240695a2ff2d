"""Preparing a cohort into the cache: one real run over a folder with good and bad scans, then its failures."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
import torch

from BrainAnomalyLib.errors import Cancelled, OutputError
from BrainAnomalyLib.io.geometry import to_image
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyLib.service.workplace import host_name
from BrainAnomalyTrainingLib.cache.cached_scans import (
    CachedScan,
    CacheTask,
    cache_file,
    cache_scan,
    open_cached,
    remove_leftovers,
)
from BrainAnomalyTrainingLib.cache.cohort_preparation import prepare_cohort, prepared_reports, read_cohort
from BrainAnomalyTrainingLib.cohort.cohort import CohortError, CohortScan
from BrainAnomalyTrainingLib.run.run_folder import EVENTS, RunFolder, ask, read_events
from BrainAnomalyTrainingLib.train.sampling import training_batch
from dicom_series import write_series
from prepared_cohorts import COARSE, coarse_box, coarse_brain
from synthetic import AWKWARD, noise, save_nifti

# The fastest preparation there is; what the cache does with it does not depend on the steps.
RECIPE = Recipe(grid="template_2mm", bias_correction=False, registration="rigid")


@dataclass(frozen=True)
class Case:
    """A folder of scans and what its preparation left."""

    source: Path
    cache: Path
    run: RunFolder
    scans: list[CachedScan]
    events: list[dict[str, Any]]

    def told(self, name: str) -> dict[str, Any]:
        """The last ``scan`` event of a file."""
        return [event for event in self.events if Path(event.get("path", "")).name == name][-1]


def write_source(folder: Path) -> Path:
    anna = save_nifti(folder / "anna_FLAIR.nii.gz", coarse_brain(1), COARSE.affine)
    (folder / "twin_FLAIR.nii").write_bytes(gzip.decompress(anna.read_bytes()))
    write_series(folder / "dicom" / "béla", 10.0 * coarse_brain(2), COARSE, None, "t2 flair", PatientID="Béla")
    SimpleITK.WriteImage(to_image(coarse_brain(3), COARSE), str(folder / "cyril.nrrd"))
    SimpleITK.WriteImage(to_image((coarse_brain(3) > 0).astype(np.uint8)[:-1], COARSE), str(folder / "cyril_mask.nrrd"))
    data = anna.read_bytes()
    (folder / "short_FLAIR.nii.gz").write_bytes(data[: len(data) // 2])
    (folder / "empty_FLAIR.nii.gz").touch()
    save_nifti(folder / "series_FLAIR.nii.gz", noise((12, 12, 12, 3)))
    save_nifti(folder / "plane_FLAIR.nii.gz", noise((12, 12)))
    save_nifti(folder / "box_FLAIR.nii.gz", coarse_box(4), COARSE.affine)
    return folder


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("cohort") / AWKWARD
    source, run = write_source(folder / "source"), RunFolder(folder / "run")
    scans = prepare_cohort(source, RECIPE, run, folder / "cache", workers=2)
    return Case(source, folder / "cache", run, scans, read_events(run.path / EVENTS)[0])


def test_good_scans_of_every_kind_are_prepared_in_order(case):
    assert [(scan.subject, scan.contrast, scan.registration) for scan in case.scans] == [
        ("Béla", "FLAIR", "good"),
        ("anna", "FLAIR", "good"),
        ("cyril", "FLAIR", "good"),
    ]
    for scan in case.scans:
        assert scan.shape == COARSE.shape
        assert scan.spacing_mm == pytest.approx(COARSE.spacing)
        assert 1300.0 < scan.brain_ml < 2000.0


def test_bad_scans_are_skipped_with_their_reasons(case):
    reasons = {
        "twin_FLAIR.nii": "It is the same image as 'anna_FLAIR.nii.gz' of anna.",
        "short_FLAIR.nii.gz": "damaged, cut short",
        "empty_FLAIR.nii.gz": "is an empty file",
        "series_FLAIR.nii.gz": "Split the series",
        "plane_FLAIR.nii.gz": "voxels; one 3D gray volume is needed",
    }
    for name, reason in reasons.items():
        assert case.told(name)["status"] == "skipped"
        assert reason in case.told(name)["reason"]


def test_a_scan_that_fits_no_template_is_skipped_with_a_picture(case):
    event = case.told("box_FLAIR.nii.gz")
    assert (event["status"], event["registration"]) == ("skipped", "failed")
    assert "could not be aligned" in event["reason"]
    assert (case.run.path / event["thumbnail"]).is_file()


def test_a_mask_of_another_size_is_not_used_and_the_scan_is(case):
    event = case.told("cyril.nrrd")
    assert event["status"] == "prepared"
    assert "The mask 'cyril_mask.nrrd' was not used" in event["reason"]


def test_a_scan_without_a_contrast_in_its_name_is_told_by_its_intensities(case):
    assert case.told("cyril.nrrd")["contrast"] == "FLAIR"


def test_events_tell_what_was_found_with_a_picture(case):
    event = case.told("anna_FLAIR.nii.gz")
    assert (event["status"], event["reason"], event["registration"]) == ("prepared", "", "good")
    assert event["spacing_mm"] == [4.0, 4.0, 4.0]
    picture = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(case.run.path / event["thumbnail"])))[..., :3]
    assert (picture == (230, 159, 0)).all(axis=-1).sum() > 200
    assert (picture == (86, 180, 233)).all(axis=-1).sum() > 200
    stages = [event["stage"] for event in case.events if event["event"] == "stage"]
    fractions = [event["fraction"] for event in case.events if event["event"] == "progress"]
    assert stages == ["find", "prepare"]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_cached_volumes_are_prepared_scans(case):
    scan = next(scan for scan in case.scans if scan.subject == "anna")
    image, mask = scan.image(), scan.mask()
    assert image.shape == mask.shape == (96, 112, 96)
    assert (image[~mask] == 0).all()
    assert np.median(image[mask]) == pytest.approx(1.0, abs=0.15)
    assert scan.quantiles[50] == pytest.approx(np.median(image[mask]), abs=2e-3)
    assert scan.brain_per_slice == tuple(mask.sum(axis=(0, 1)))
    middle = scan.axial_slice(50)
    assert np.array_equal(middle[0], image[:, :, 50])
    assert np.array_equal(middle[1], mask[:, :, 50])
    prepared = scan.prepared(RECIPE)
    assert np.array_equal(prepared.to_native(image), image)
    assert prepared.contrast.contrast == "FLAIR"


def test_a_second_run_takes_everything_from_the_cache_under_any_name(case, tmp_path):
    copy = shutil.copytree(case.source, tmp_path / "moved", ignore=shutil.ignore_patterns("box*"))
    (copy / "anna_FLAIR.nii.gz").rename(copy / "aneta_FLAIR.nii.gz")
    again = RunFolder(tmp_path / "run")
    scans = prepare_cohort(copy, RECIPE, again, case.cache, exclude=["cyril", "nobody"], workers=1)
    events = read_events(again.path / EVENTS)[0]
    assert {event["status"] for event in events if event["event"] == "scan"} == {"cached", "skipped"}
    assert [scan.subject for scan in scans] == ["Béla", "aneta"]
    assert [scan.file for scan in scans] == [scan.file for scan in case.scans[:2]]
    assert [event["message"] for event in events if event["event"] == "warning"] == [
        "There is no subject 'nobody' to leave out."
    ]
    assert (again.path / next(e for e in events if e.get("subject") == "aneta")["thumbnail"]).is_file()
    assert read_cohort(again.path) == scans


def test_too_few_usable_scans_are_refused_and_what_was_prepared_is_kept(case, tmp_path):
    with pytest.raises(CohortError, match="at least 20 subjects"):
        prepare_cohort(case.source, RECIPE, RunFolder(tmp_path), case.cache, needed=20)
    assert read_cohort(case.run.path) == case.scans


def test_a_lost_cache_is_told(case, tmp_path):
    shutil.copy(case.run.path / "cohort.json", tmp_path)
    assert len(read_cohort(tmp_path)) == 3
    (tmp_path / "cohort.json").write_text((tmp_path / "cohort.json").read_text().replace(".safetensors", ".gone"))
    with pytest.raises(OutputError, match="gone or damaged"):
        read_cohort(tmp_path)


def test_a_cancelled_preparation_stops(case, tmp_path):
    run = RunFolder(tmp_path)
    ask(run.path, "cancel")
    scan = CohortScan("anna", "", case.source / "anna_FLAIR.nii.gz")
    left = case.cache / f"series-x.{host_name()}.{2**22 + 1}.partial"
    left.mkdir()
    with pytest.raises(Cancelled):
        list(prepared_reports([scan], RECIPE, case.cache, run, workers=1))
    with pytest.raises(Cancelled):
        prepare_cohort(case.source, RECIPE, run, case.cache, workers=1)
    assert list(case.cache.glob("*.partial")) == []
    assert {path.suffix for path in case.cache.iterdir()} == {".png", ".safetensors"}


def test_a_damaged_or_unfinished_cache_file_is_made_again(case, tmp_path):
    good = next(scan for scan in case.scans if scan.subject == "anna")
    damaged = tmp_path / good.file.name
    damaged.write_bytes(good.file.read_bytes()[:100_000])
    unfinished = tmp_path / f"other.{host_name()}.{2**22 + 1}.partial"
    unfinished.touch()
    own = tmp_path / f"mine.{host_name()}.{os.getpid()}.partial"
    own.touch()
    elsewhere = tmp_path / f"theirs.another-computer.{2**22 + 1}.partial"
    elsewhere.touch()
    remove_leftovers(tmp_path)
    assert elsewhere.exists()
    assert not unfinished.exists()
    assert own.exists()
    scan = CohortScan("anna", "", case.source / "anna_FLAIR.nii.gz", contrast="FLAIR")
    assert open_cached(damaged, scan) is None
    outcome = cache_scan(CacheTask(scan, RECIPE, tmp_path))
    assert outcome.status == "prepared"
    assert outcome.cached.digest == good.digest


def test_content_mask_and_recipe_make_the_name_in_the_cache(case):
    path, other = (case.source / name for name in ("anna_FLAIR.nii.gz", "cyril.nrrd"))
    scans = [CohortScan("anna", "", path), CohortScan("anna", "", other), CohortScan("anna", "", path, other)]
    files = {cache_file(scan, recipe, case.cache) for scan in scans for recipe in (RECIPE, Recipe())}
    assert len(files) == 6
    assert cache_file(CohortScan("x", "y", path), RECIPE, case.cache) in {scan.file for scan in case.scans}


def test_batches_of_slices_are_read_from_the_cache(case):
    scan = case.scans[0]
    from_disk = training_batch([scan], (80, 96), 2, 4, 1, 2)
    in_memory = training_batch([_Loaded(scan.image(), scan.mask())], (80, 96), 2, 4, 1, 2)
    assert torch.equal(from_disk[0], in_memory[0])
    assert torch.equal(from_disk[1], in_memory[1])
    assert from_disk[0].amax() > 0.9


@dataclass(frozen=True, eq=False)
class _Loaded:
    """A scan's volumes in memory."""

    volume: np.ndarray
    brain: np.ndarray

    def image(self) -> np.ndarray:
        return self.volume

    def mask(self) -> np.ndarray:
        return self.brain


FULL_DISK = """
import resource, sys
from pathlib import Path
from BrainAnomalyLib.errors import OutputError
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyTrainingLib.cache.cohort_preparation import prepare_cohort
from BrainAnomalyTrainingLib.run.run_folder import RunFolder

if __name__ == "__main__":
    source, cache, run = map(Path, sys.argv[1:])
    # Workers inherit the limit: no file may grow beyond 1 MB, as on a disk with no more room.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
    recipe = Recipe(grid="template_2mm", bias_correction=False, registration="rigid")
    try:
        prepare_cohort(source, recipe, RunFolder(run), cache, workers=1)
    except OutputError as error:
        print(error.sentence())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX systems do")
def test_a_full_disk_stops_with_clear_words_and_an_intact_cache(case, tmp_path):
    cache = shutil.copytree(case.cache, tmp_path / "cache")
    before = {path.name: path.stat().st_size for path in cache.iterdir()}
    source = tmp_path / "source"
    save_nifti(source / "nová_FLAIR.nii.gz", coarse_brain(9), COARSE.affine)
    shutil.copy(case.source / "anna_FLAIR.nii.gz", source)
    script = tmp_path / "full_disk.py"
    script.write_text(FULL_DISK, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, script, source, cache, tmp_path / "run"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8", check=True)
    assert "There is no room left on the disk" in ended.stdout
    assert "then give the same command again" in ended.stdout
    after = {path.name: path.stat().st_size for path in cache.iterdir() if path.suffix == ".safetensors"}
    assert after == {name: size for name, size in before.items() if name.endswith(".safetensors")}
    assert list(cache.glob("*.partial")) == []
