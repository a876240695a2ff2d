from __future__ import annotations

import json
import shutil
from dataclasses import asdict

import pytest
import torch

from BrainAnomalyLib.detectors.denoising import DenoisingConfig, DenoisingDetector, build_network
from BrainAnomalyLib.errors import PackageError
from BrainAnomalyLib.packages import FORMAT, HASHES, METADATA, WEIGHTS, read_package, write_hashes, write_package
from BrainAnomalyLib.preparation.recipe import Recipe

CONFIG = DenoisingConfig(channels=(4, 8), strides=(2,), residual_units=1)
RECIPE = Recipe(grid="template_2mm")


def _metadata() -> dict:
    return {
        "format": FORMAT,
        "name": "test",
        "version": "1.0.0",
        "description": "untrained",
        "detector": "denoising",
        "config": asdict(CONFIG),
        "recipe": asdict(RECIPE),
        "recipe_identity": RECIPE.identity(),
        "contrasts": ["T1w"],
        "cohort": {"scans": 1, "sources": ["none"]},
        "calibration": {"scans": 0, "quantiles": {"0.01": 1.0}, "default_threshold": 1.0, "default_source": "none"},
        "license": "CC0",
        "intended_use": "test",
        "network_data_format": {},
    }


@pytest.fixture
def package(tmp_path):
    weights = build_network(CONFIG).state_dict()
    calibration = {"healthy_rms": torch.ones(96, 112, 96)}
    return write_package(tmp_path / "pä ckage", _metadata(), weights, calibration, "# card", "CC0")


def _edit_metadata(folder, **changes):
    metadata = json.loads((folder / METADATA).read_text()) | changes
    (folder / METADATA).write_text(json.dumps(metadata))
    write_hashes(folder)


def test_a_written_package_reads_back(package):
    again = read_package(package.folder)
    assert again.identity == package.identity
    assert again.recipe == RECIPE
    assert set(again.weights()) == set(build_network(CONFIG).state_dict())
    assert DenoisingDetector.from_package(again, "cpu").threshold.by_false_positive_rate == {0.01: 1.0}


def test_a_changed_byte_is_refused(package):
    content = bytearray((package.folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (package.folder / WEIGHTS).write_bytes(content)
    with pytest.raises(PackageError, match="changed or damaged"):
        read_package(package.folder)


def test_a_missing_file_is_named(package):
    (package.folder / WEIGHTS).unlink()
    with pytest.raises(PackageError, match=r"model\.safetensors"):
        read_package(package.folder)


def test_a_folder_that_is_no_package_is_refused(tmp_path):
    with pytest.raises(PackageError, match="not a model package"):
        read_package(tmp_path)


def test_another_recipe_is_refused(package):
    recipe = asdict(RECIPE) | {"version": RECIPE.version + 1}
    _edit_metadata(package.folder, recipe=recipe)
    with pytest.raises(PackageError, match="another recipe"):
        read_package(package.folder)


@pytest.mark.parametrize(
    "changes",
    [{"contrasts": ["CT"]}, {"version": "one"}, {"format": "other"}, {"_target_": "os.system"}, {"calibration": {}}],
)
def test_metadata_outside_the_schema_is_refused(package, changes):
    _edit_metadata(package.folder, **changes)
    with pytest.raises(PackageError, match="not valid"):
        read_package(package.folder)


def test_a_path_outside_the_package_is_refused(package):
    hashes = json.loads((package.folder / HASHES).read_text())
    (package.folder / HASHES).write_text(json.dumps(hashes | {"../outside": "0" * 64}))
    with pytest.raises(PackageError, match="outside itself"):
        read_package(package.folder)


def test_weights_of_another_network_are_refused(package):
    config = asdict(CONFIG) | {"channels": [8, 16]}
    _edit_metadata(package.folder, config=config)
    with pytest.raises(PackageError, match="do not fit"):
        DenoisingDetector.from_package(read_package(package.folder), "cpu")


@pytest.mark.parametrize("config", [{"channels": [4, 8], "surprise": 1}, asdict(CONFIG) | {"crop": [7, 8, 9]}])
def test_an_impossible_configuration_is_refused(package, config):
    _edit_metadata(package.folder, config=config)
    with pytest.raises(PackageError):
        DenoisingDetector.from_package(read_package(package.folder), "cpu")


def test_a_package_for_another_detector_is_refused(package):
    _edit_metadata(package.folder, detector="something else")
    with pytest.raises(PackageError, match="something else"):
        DenoisingDetector.from_package(read_package(package.folder), "cpu")


def test_a_pickle_in_place_of_the_weights_is_not_executed(package, tmp_path):
    torch.save({"weights": torch.zeros(1)}, package.folder / WEIGHTS)
    write_hashes(package.folder)
    with pytest.raises(PackageError, match="cannot be read"):
        DenoisingDetector.from_package(read_package(package.folder), "cpu")


def test_an_occupied_folder_is_not_overwritten(package):
    before = (package.folder / HASHES).read_bytes()
    with pytest.raises(PackageError, match="not empty"):
        write_package(package.folder, _metadata(), {}, {}, "", "")
    assert (package.folder / HASHES).read_bytes() == before


def test_a_copied_package_keeps_its_identity(package, tmp_path):
    shutil.copytree(package.folder, tmp_path / "copy")
    assert read_package(tmp_path / "copy").identity == package.identity
