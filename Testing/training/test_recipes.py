"""Recipes: what is written in them, the scans they name, and packages that one command makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from BrainAnomalyLib.detectors.registry import load_detector
from BrainAnomalyLib.errors import OptionsError, ScanError
from BrainAnomalyLib.packages.read import read_package
from BrainAnomalyTrainingLib.export.model_card import model_card
from BrainAnomalyTrainingLib.recipes.ingredients import CohortParts, cohort_parts, further_scans, step_scans
from BrainAnomalyTrainingLib.recipes.recipe_file import CalibrationStep, StrokeSlices, Training, read_recipe
from BrainAnomalyTrainingLib.training_commands import main
from prepared_cohorts import COARSE, coarse_brain
from shared_data import FOLDER, needs
from synthetic import save_nifti

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "BrainAnomalyTraining" / "Recipes"
MODELS = ROOT / "Resources" / "Models"
TINY = {"channels": [4, 8], "strides": [2], "residual_units": 1, "crop": [32, 32, 32], "passes": 2}


def shipped() -> list[str]:
    return sorted(path.name for path in MODELS.iterdir() if path.is_dir())


def test_every_shipped_network_and_package_has_a_recipe():
    with_recipe = {path.parent.name for path in RECIPES.glob("*/recipe.json")}
    assert {*shipped(), "brain_mask", "structure_network"} <= with_recipe
    assert {read_recipe(RECIPES / name).makes for name in with_recipe} >= {"network", "evidence", "brain_mask"}


@pytest.mark.parametrize("name", shipped())
def test_metadata_card_license_and_recipe_of_a_package_agree(name):
    package, recipe = read_package(MODELS / name), read_recipe(RECIPES / name)
    metadata, stated = package.metadata, recipe.statement
    assert list(metadata["changelog"])[-1] == metadata["version"] == stated.version
    assert (package.folder / "docs" / "README.md").read_text(encoding="utf-8") == model_card(metadata)
    assert (package.folder / "LICENSE").read_text(encoding="utf-8") == recipe.license_text
    assert tuple(metadata["cohort"]["sources"]) == stated.sources
    assert all(any(word in source for word in ("CC", "PDDL", "Apache", "cleared")) for source in stated.sources)
    assert metadata["license"] == stated.license == "CC BY-SA 3.0"
    assert metadata["detector"] == recipe.detector
    if recipe.makes == "network":
        assert metadata["training"]["steps"] == recipe.training.steps
        assert metadata["training"]["batch"] == recipe.training.batch
    for part, other in recipe.parts.items():
        made_of = read_package(MODELS / other)
        assert metadata["parts"][part]["version"] == made_of.metadata["version"]
        assert metadata["parts"][part]["training"] == made_of.metadata["training"]


def test_the_brain_masks_card_names_the_recipes_steps_and_command():
    card = (ROOT / "Resources" / "BrainMask" / "README.md").read_text(encoding="utf-8")
    assert f"{read_recipe(RECIPES / 'brain_mask').training.steps} steps" in card
    assert "Recipes/brain_mask" in card


@needs("ds002748_t1_brain_2mm")
@pytest.mark.parametrize("name", ["denoising_t1w", "any_contrast", "combined"])
def test_the_cohort_is_split_as_published_and_calibrated_with_the_masks_that_the_recipe_says(name):
    recipe = read_recipe(RECIPES / name)
    parts = cohort_parts(recipe, FOLDER)
    assert [len(part) for part in parts] == [130, 21, 21]
    assert parts == cohort_parts(read_recipe(RECIPES / "denoising_t1w"), FOLDER)
    assert [scan.subject for scan in parts.test[:2]] == ["IXI048-HH-1326", "IXI093-HH-1359"]
    step = next(step for step in recipe.calibrations if not step.files)
    calibration = step_scans(step, parts, FOLDER)
    assert [scan.path for scan in calibration] == [scan.path for scan in parts.calibration]
    assert any(scan.brain_labels for scan in calibration) == step.brain_labels


@needs("single_healthy")
def test_the_healthy_heads_of_contrasts_without_a_cohort_are_found(tmp_path):
    for name in ("combined", "any_contrast"):
        steps = {step.contrast: step for step in read_recipe(RECIPES / name).calibrations if step.files}
        found = {contrast: step_scans(step, CohortParts([], [], []), FOLDER) for contrast, step in steps.items()}
        assert {contrast: len(scans) for contrast, scans in found.items()} == {"FLAIR": 1, "T2w": 5}
        assert len({scan.subject for scan in found["T2w"]}) == 5
    with pytest.raises(ScanError, match="There is no file"):
        step_scans(CalibrationStep("FLAIR", ("nothing/*.nii",)), CohortParts([], [], []), tmp_path)


@needs("soop_flair_2d")
def test_slices_are_drawn_as_often_as_their_share_says():
    training = Training(stroke_slices=StrokeSlices("soop_flair_2d", 0.15))
    further = further_scans(training, FOLDER, 85)
    assert len(further) == 15
    assert all(scan is further[0] for scan in further)
    assert further[0].image().shape[:2] == (96, 112)
    assert not further[0].image()[~further[0].mask()].any()


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"makes": "network", "nonsense": 1}', '{"makes": "network", "split": {"x": 1}}']
)
def test_a_recipe_that_cannot_be_read_is_refused_in_words(text, tmp_path):
    (tmp_path / "recipe.json").write_text(text, encoding="utf-8")
    with pytest.raises(OptionsError, match=r"recipe\.json' cannot be read"):
        read_recipe(tmp_path)


@pytest.mark.slow
def test_one_command_makes_a_package_and_again_with_its_weights_alone(tmp_path):
    data = tmp_path / "data"
    for number in range(6):
        save_nifti(data / "healthy" / f"sub-{number:02d}_FLAIR.nii.gz", coarse_brain(number), COARSE.affine)
    recipe = {
        "makes": "network",
        "detector": "denoising",
        "data": [{"folder": "healthy", "contrast": "FLAIR", "scanner": "A"}],
        "split": {"calibration": 0.34, "test": 0.0, "seed": 1},
        "training": {"preset": "small", "config": TINY, "steps": 3, "batch": 1, "watched": 1},
        "calibrations": [{"contrast": "FLAIR"}, {"contrast": "T2w", "files": ["healthy/sub-00*"], "alone": True}],
        "statement": {"name": "Own", "version": "2.0.0", "license": "CC0", "changelog": {"2.0.0": "Six heads."}},
    }
    folder = tmp_path / "recipe"
    folder.mkdir()
    (folder / "recipe.json").write_text(json.dumps(recipe), encoding="utf-8")
    (folder / "LICENSE").write_text("CC0\n", encoding="utf-8")
    command = ["rebuild", folder, "--data", data, "--cache", tmp_path / "cache", "--workers", 1, "--device", "cpu"]
    first, again = tmp_path / "first", tmp_path / "again"
    assert main([*map(str, command), "--out", str(first), "--quiet"]) == 0
    package = read_package(first)
    assert (package.metadata["cohort"]["scans"], package.metadata["calibration"]["scans"]) == (3, 2)
    assert package.metadata["training"]["steps"] == 3
    assert (package.metadata["name"], package.metadata["version"]) == ("Own", "2.0.0")
    assert (first / "LICENSE").read_text(encoding="utf-8") == "CC0\n"
    detector = load_detector("denoising", first, "cpu")
    assert detector.threshold_for("T2w").source.endswith("which is no cohort")
    assert detector.threshold_for("T2w").value != detector.threshold_for("FLAIR").value
    assert main([*map(str, command), "--out", str(again), "--weights", str(first), "--quiet"]) == 0
    other = load_detector("denoising", again, "cpu")
    for name, value in detector.network.state_dict().items():
        np.testing.assert_array_equal(value, other.network.state_dict()[name])
    assert other.threshold.value == pytest.approx(detector.threshold.value, rel=1e-2)
    assert main([*map(str, command), "--out", str(again), "--quiet"]) == 6
