"""Model packages on disk: written whole, verified when opened, readable by MONAI's own tools, executing nothing."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from monai.bundle.scripts import verify_metadata
from monai.bundle.utils import DEFAULT_METADATA

from BrainAnomalyLib.detectors.families.self_supervised.denoising import DenoisingDetector
from BrainAnomalyLib.errors import PackageError
from BrainAnomalyLib.packages.read import (
    HASHES,
    METADATA,
    WEIGHTS,
    Package,
    is_inside,
    read_metadata,
    read_package,
    unlisted_files,
    write_hashes,
    write_package,
)
from BrainAnomalyLib.packages.schema import BUNDLE_ENTRIES, SCHEMA, fault, missing_bundle_entries
from BrainAnomalyLib.resources import resources_folder
from made_package import CONFIG, RECIPE, edit_metadata, make_package, metadata


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return make_package(tmp_path / "pä ckage")


def test_a_written_package_reads_back(package):
    again = read_package(package.folder)
    assert again.identity == package.identity
    assert again.recipe == RECIPE
    assert set(again.weights()) == set(DenoisingDetector.build(CONFIG).state_dict())
    assert DenoisingDetector.from_package(again, "cpu").threshold.by_false_positive_rate == {0.01: 1.0}


def test_a_changed_byte_is_refused(package):
    content = bytearray((package.folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (package.folder / WEIGHTS).write_bytes(content)
    with pytest.raises(PackageError, match="changed or damaged"):
        read_package(package.folder)
    assert read_metadata(package.folder)["name"] == "Untrained test model"


@pytest.mark.parametrize("read", [read_package, read_metadata])
def test_a_missing_file_is_named(package, read):
    (package.folder / WEIGHTS).unlink()
    with pytest.raises(PackageError, match=r"model\.safetensors"):
        read(package.folder)


@pytest.mark.parametrize("read", [read_package, read_metadata])
def test_a_folder_that_is_no_package_is_refused(tmp_path, read):
    with pytest.raises(PackageError, match="not a model package"):
        read(tmp_path)


@pytest.mark.parametrize("read", [read_package, read_metadata])
@pytest.mark.parametrize("changes", [{"version": RECIPE.version + 1}, {"surprise": 1}, {"grid": "3 mm"}])
def test_another_recipe_is_refused(package, read, changes):
    edit_metadata(package.folder, recipe=asdict(RECIPE) | changes)
    with pytest.raises(PackageError, match="another recipe"):
        read(package.folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"contrasts": ["CT"]},
        {"version": "one"},
        {"format": "other"},
        {"_target_": "os.system"},
        {"calibration": {}},
        {"timing": {"seconds_per_scan": "fast"}},
        {"parameters": -1},
        {"cohort": {"scans": 0, "sources": []}},
        {"training": {"steps": 1.5}},
    ],
)
def test_metadata_outside_the_schema_is_refused(package, changes):
    edit_metadata(package.folder, **changes)
    with pytest.raises(PackageError, match="not valid"):
        read_package(package.folder)


def test_everything_measured_has_a_place_in_the_metadata(tmp_path):
    calibration = metadata()["calibration"] | {
        "mean_ml_by_threshold": [[1.0, 3.2], [2.0, 0.4]],
        "scan_scores": ["top_anomaly"],
        "guard_features": ["brain_ml"],
        "site": "Hospital A, scanner 2",
        "realised": {"0.01": {"rate": 0.011}},
        "presets": {"0.05": {"available": True, "needed_scans": 19}},
    }
    training = {"steps": 400, "batch": 2, "preset": "small", "seconds_per_step": 0.5, "parameters": 7, "seed": 1}
    made = make_package(
        tmp_path / "package",
        calibration=calibration,
        training=training | {"final_losses": {"loss": 0.1, "validation": None}},
        timing={"seconds_per_scan": 2.5, "machine": "2 CPU cores"},
        parameters=1234,
    )
    assert read_package(made.folder).metadata["calibration"] == calibration


def test_the_embedded_package_of_the_first_version_still_opens():
    made = read_package(resources_folder() / "Models" / "denoising_t1w")
    assert made.metadata["format"] == "brain-anomaly-package/1"
    assert made.calibration()["healthy_rms"].shape == (96, 112, 96)


def test_numbers_that_are_not_finite_are_not_written(tmp_path):
    with pytest.raises(PackageError, match="not finite"):
        make_package(tmp_path / "package", timing={"seconds_per_scan": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_path_outside_the_package_is_refused(package):
    hashes = json.loads((package.folder / HASHES).read_text())
    (package.folder / HASHES).write_text(json.dumps(hashes | {"../outside": "0" * 64}))
    with pytest.raises(PackageError, match="outside itself"):
        read_package(package.folder)


@pytest.mark.parametrize("name", ["a", "a/b.txt", "ä/ö", "a..b", "..a/b", "a b"])
def test_names_inside(name):
    assert is_inside(name)


@pytest.mark.parametrize(
    "name", ["", "/a", "../a", "a/../../b", "a/..", "C:/a", "C:a", "\\a", "a\\b", "//host/a", "a\0"]
)
def test_names_that_may_lead_outside(name):
    assert not is_inside(name)


def test_a_link_in_place_of_a_file_or_folder_is_refused(package, tmp_path):
    shutil.copytree(package.folder / "models", tmp_path / "elsewhere")
    shutil.rmtree(package.folder / "models")
    (package.folder / "models").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(PackageError, match=r"lacks the file models/model\.safetensors"):
        read_package(package.folder)


def test_files_beside_the_listed_ones_are_told(package):
    assert unlisted_files(package.folder) == ()
    (package.folder / "models" / "extra.py").write_text("")
    assert unlisted_files(package.folder) == ("models/extra.py",)


def test_weights_of_another_network_are_refused(package):
    edit_metadata(package.folder, config=asdict(CONFIG) | {"channels": [8, 16]})
    with pytest.raises(PackageError, match="do not fit"):
        DenoisingDetector.from_package(read_package(package.folder), "cpu")


@pytest.mark.parametrize("config", [{"channels": [4, 8], "surprise": 1}, asdict(CONFIG) | {"crop": [7, 8, 9]}])
def test_an_impossible_configuration_is_refused(package, config):
    edit_metadata(package.folder, config=config)
    with pytest.raises(PackageError):
        DenoisingDetector.from_package(read_package(package.folder), "cpu")


def test_a_package_for_another_detector_is_refused(package):
    edit_metadata(package.folder, detector="something else")
    with pytest.raises(PackageError, match="something else"):
        DenoisingDetector.from_package(read_package(package.folder), "cpu")


def test_a_pickle_in_place_of_the_weights_is_not_executed(package):
    torch.save({"weights": torch.zeros(1)}, package.folder / WEIGHTS)
    write_hashes(package.folder)
    with pytest.raises(PackageError, match="cannot be read"):
        DenoisingDetector.from_package(read_package(package.folder), "cpu")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": NaN}', "\udcff", "[" * 100_000])
def test_metadata_that_is_no_json_object_is_refused_in_plain_words(package, text):
    (package.folder / METADATA).write_bytes(text.encode("utf-8", "surrogateescape"))
    write_hashes(package.folder)
    with pytest.raises(PackageError, match=r"metadata\.json of the model package (cannot be read|is not)"):
        read_package(package.folder)


def test_an_occupied_folder_is_not_overwritten(package):
    before = (package.folder / HASHES).read_bytes()
    with pytest.raises(PackageError, match="not empty"):
        write_package(package.folder, metadata(), {}, {}, "", "")
    assert (package.folder / HASHES).read_bytes() == before


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "new").mkdir()
    assert make_package(tmp_path / "new").folder == tmp_path / "new"
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(PackageError, match="not valid at contrasts"):
        make_package(tmp_path / "package", contrasts=[])
    with pytest.raises(TypeError):
        write_package(tmp_path / "package", metadata(), {"weights": torch.zeros(1)}, {}, None, "")
    assert list(tmp_path.iterdir()) == []


def test_a_copied_package_keeps_its_identity(package, tmp_path):
    shutil.copytree(package.folder, tmp_path / "copy")
    assert read_package(tmp_path / "copy").identity == package.identity


def test_bundle_entries_are_those_of_a_fresh_monai_bundle():
    assert set(DEFAULT_METADATA) == set(BUNDLE_ENTRIES)
    assert set(BUNDLE_ENTRIES) <= set(SCHEMA["properties"])


def test_monai_reads_the_metadata(package):
    parser = ConfigParser()
    parser.read_meta(package.folder / METADATA)
    for side, name in (("inputs", "image"), ("outputs", "pred")):
        assert parser[f"_meta_#network_data_format#{side}#{name}#spatial_shape"] == list(CONFIG.crop)
    assert missing_bundle_entries(ConfigParser.load_config_file(package.folder / METADATA)) == ()


def test_monai_verifies_the_metadata_against_a_schema_on_this_disk(package, tmp_path):
    """``verify_metadata`` takes a schema file that is there instead of fetching it from the stated address."""
    schema = {"type": "object", "required": list(BUNDLE_ENTRIES), "properties": {"changelog": {"type": "object"}}}
    edit_metadata(package.folder, schema="https://example.org/schema.json")
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    verify_metadata(meta_file=str(package.folder / METADATA), filepath=str(tmp_path / "schema.json"))
    (tmp_path / "schema.json").write_text(json.dumps(schema | {"required": ["no such entry"]}))
    with pytest.raises(ValueError, match="no such entry"):
        verify_metadata(meta_file=str(package.folder / METADATA), filepath=str(tmp_path / "schema.json"))
    assert read_package(package.folder).metadata["schema"].startswith("https://")


def test_faults_name_their_place():
    assert fault(metadata()) == ""
    assert fault(metadata(parameters="many")).startswith("at parameters: 'many'")
    assert "the top level" in fault({})
