"""The models there are to choose from, and the ``package`` command."""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path

import pytest

from BrainAnomalyLib.cli.package import add_package_parser, run_package
from BrainAnomalyLib.detectors.registry import detector_names, trainable_names
from BrainAnomalyLib.errors import BrainAnomalyError, OptionsError, OutputError, PackageError
from BrainAnomalyLib.models import store as model_store
from BrainAnomalyLib.models.store import (
    ENVIRONMENT_VARIABLE,
    delete_model,
    export_package,
    find_model,
    import_package,
    list_models,
    models_folder,
)
from BrainAnomalyLib.packages.read import METADATA, WEIGHTS
from engine_process import engine
from made_package import edit_metadata, make_package


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "mödels"))
    return tmp_path / "mödels"


@pytest.fixture
def own(models: Path) -> Path:
    return make_package(models / "mine", timing={"seconds_per_scan": 3.5, "machine": "2 cores"}).folder


def run(*arguments: object) -> str:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true")
    parser = argparse.ArgumentParser()
    add_package_parser(parser.add_subparsers(dest="command"), common)
    output = io.StringIO()
    assert run_package(parser.parse_args(["package", *map(str, arguments)]), output, io.StringIO()) == 0
    return output.getvalue()


def test_training_free_detectors_and_embedded_packages_are_there_without_a_models_folder(models):
    listed = {model.key: model for model in list_models()}
    assert set(listed) == ({*detector_names()} - {*trainable_names()}) | {"denoising", "any_contrast"}
    assert listed["tissue"].cohort == "none"
    assert listed["tissue"].folder is None
    assert "FLAIR" in listed["tissue"].contrasts
    assert listed["denoising"].cohort.startswith("130 healthy scans, ages 19 to 76")
    assert listed["denoising"].size_bytes == pytest.approx(4.5e6, rel=0.1)
    assert all(model.embedded and model.title for model in listed.values())
    assert not models.exists()


def test_own_packages_are_listed_with_what_the_metadata_say(own):
    model = find_model("mine")
    assert (model.detector, model.title, model.contrasts) == ("denoising", "Untrained test model", ("T1w",))
    assert (model.seconds_per_scan, model.license, model.cohort) == (3.5, "CC0", "1 healthy scan")
    assert (model.folder, model.embedded, model.problem) == (own, False, "")
    assert model.size_bytes == sum(path.stat().st_size for path in own.rglob("*") if path.is_file())


def test_listing_does_not_read_weights(own):
    (own / WEIGHTS).write_bytes(b"damaged")
    assert find_model("mine").problem == ""


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda folder: (folder / METADATA).unlink(), "lacks configs/metadata.json"),
        (lambda folder: (folder / METADATA).write_text("{"), "cannot be read"),
        (lambda folder: edit_metadata(folder, contrasts=["CT"]), "not valid"),
        (lambda folder: edit_metadata(folder, detector="of tomorrow"), "has no detector 'of tomorrow'"),
        (lambda folder: edit_metadata(folder, recipe={"version": 99}), "another recipe"),
    ],
)
def test_a_broken_package_is_listed_with_its_problem(own, harm, words):
    harm(own)
    model = find_model("mine")
    assert words in model.problem
    assert model.folder == own
    delete_model(model)
    assert not own.exists()


def test_stray_files_and_unfinished_imports_are_not_models(own, models):
    (models / "notes.txt").write_text("")
    (models / ".incoming-x").mkdir()
    assert [model.key for model in list_models() if not model.embedded] == ["mine"]


def test_keys_are_unique(models):
    make_package(models / "denoising")
    keys = [model.key for model in list_models()]
    assert len(keys) == len(set(keys))
    assert find_model("denoising").embedded
    assert find_model("denoising-2").folder == models / "denoising"


def test_an_unknown_key_is_told_with_the_known_ones():
    with pytest.raises(OptionsError, match="no model named 'x'") as caught:
        find_model("x")
    assert "tissue" in caught.value.remedy


def test_export_import_and_delete(own, models, tmp_path):
    archive = export_package(own, tmp_path / "mine.zip")
    delete_model(find_model("mine"))
    assert list(models.iterdir()) == []
    assert import_package(archive).folder == own
    assert import_package(archive, tmp_path / "elsewhere").folder == tmp_path / "elsewhere" / "mine"


def test_embedded_models_are_not_deleted():
    for key in ("tissue", "denoising"):
        with pytest.raises(OptionsError, match="cannot be deleted"):
            delete_model(find_model(key))
    assert find_model("denoising").folder.is_dir()


def test_only_what_lies_in_the_models_folder_is_deleted(own, monkeypatch, tmp_path):
    model = find_model("mine")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "other"))
    with pytest.raises(OptionsError, match="not in the models folder"):
        delete_model(model)
    assert own.is_dir()


def test_a_linked_package_loses_only_the_link(models, tmp_path):
    target = make_package(tmp_path / "target").folder
    models.mkdir()
    (models / "linked").symlink_to(target, target_is_directory=True)
    delete_model(find_model("linked"))
    assert target.is_dir()
    assert list(models.iterdir()) == []


def test_a_package_that_vanished_is_told(own):
    model = find_model("mine")
    delete_model(model)
    with pytest.raises(OutputError, match="cannot be deleted"):
        delete_model(model)


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, "home/.local/share/BrainAnomaly/Models"),
        ("linux", {"XDG_DATA_HOME": "/data"}, "/data/BrainAnomaly/Models"),
        ("darwin", {}, "home/Library/Application Support/BrainAnomaly/Models"),
        ("win32", {}, "home/AppData/Local/BrainAnomaly/Models"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/BrainAnomaly/Models"),
        ("linux", {ENVIRONMENT_VARIABLE: "/chosen"}, "/chosen"),
    ],
)
def test_the_models_folder_is_where_the_system_keeps_user_data(platform, variables, expected, monkeypatch):
    for name in (ENVIRONMENT_VARIABLE, "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(model_store.Path, "home", lambda: Path("home"))
    assert models_folder() == Path(expected)


def test_package_verify_checks_what_opening_does_not(own):
    assert "fit the detector 'denoising'" in run("verify", "mine")
    assert json.loads(run("verify", own, "--json"))["missing_bundle_entries"] == []
    edit_metadata(own, config={"channels": [8, 16], "strides": [2]})
    with pytest.raises(PackageError, match="do not fit"):
        run("verify", "mine")


def test_package_verify_finds_weights_that_are_not_finite(own):
    from safetensors.torch import load_file, save_file

    from BrainAnomalyLib.packages.read import write_hashes

    weights = load_file(own / WEIGHTS)
    next(iter(weights.values())).fill_(float("nan"))
    save_file(weights, own / WEIGHTS)
    write_hashes(own)
    with pytest.raises(PackageError, match="not finite"):
        run("verify", "mine")


def test_package_show_says_what_a_model_is(own, tmp_path):
    words = run("show", "mine")
    for part in ("Untrained test model, version 1.0.0", "for T1w", "3.5 s on 2 cores", "CC0", "not for diagnosis"):
        assert part in words
    archive = export_package(own, tmp_path / "mine.zip")
    assert json.loads(run("show", archive, "--json"))["name"] == "Untrained test model"


def test_package_import_export_list_delete(own, tmp_path):
    assert "Exported" in run("export", "mine", tmp_path / "a.zip")
    assert "Deleted mine" in run("delete", "mine")
    assert str(own) in run("import", tmp_path / "a.zip")
    listed = {model["key"]: model for model in json.loads(run("list", "--json"))}
    assert listed["mine"]["folder"] == str(own)
    (own / METADATA).unlink()
    assert "not usable: The model package 'mine' lacks configs/metadata.json" in run("list")


@pytest.mark.parametrize("named", ["tissue", "nothing", "a/folder/that/is/missing"])
def test_package_commands_fail_in_plain_words(named):
    with pytest.raises(BrainAnomalyError) as caught:
        run("show", named)
    assert caught.value.exit_code in (2, 4)
    assert named in caught.value.message


def test_the_command_line_knows_packages(own, tmp_path):
    listed = engine("package", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    assert "mine" in {model["key"] for model in json.loads(listed.stdout)}
    (tmp_path / "x.zip").write_bytes(b"PK no zip")
    refused = engine("package", "import", tmp_path / "x.zip")
    assert refused.returncode == 4
    assert refused.stderr.decode().strip().count("\n") == 0
    assert b"not a whole zip file" in refused.stderr
