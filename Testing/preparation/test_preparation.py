from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from scipy import ndimage

from BrainAnomalyLib.detection import DetectionOptions, detect
from BrainAnomalyLib.detectors.baselines.histogram import HistogramDetector
from BrainAnomalyLib.errors import Cancelled, DependencyError, OptionsError, PackageError, PreparationError
from BrainAnomalyLib.io.geometry import Grid
from BrainAnomalyLib.io.volumes import Scan, read_scan
from BrainAnomalyLib.preparation.brain.mask import find_brain, stripped_brain
from BrainAnomalyLib.preparation.brain.tools import brain_by_tool, installed_tool
from BrainAnomalyLib.preparation.intensity.bias import correct_bias
from BrainAnomalyLib.preparation.intensity.contrast import guess_contrast
from BrainAnomalyLib.preparation.intensity.scale import intensity_scale
from BrainAnomalyLib.preparation.pipeline import prepare
from BrainAnomalyLib.preparation.recipe import Recipe, recipe_from_json
from BrainAnomalyLib.preparation.space.grids import grid_named
from BrainAnomalyLib.preparation.space.orientation import to_ras
from BrainAnomalyLib.preparation.space.template import load_template
from BrainAnomalyLib.resources import ENVIRONMENT_VARIABLE, resources_folder
from shared_data import FOLDER, needs

# Tissue intensities (gray matter, white matter, fluid) of typical protocols.
PAINTS = {"T1w": (0.72, 1.0, 0.35), "T2w": (1.3, 1.0, 2.4), "FLAIR": (1.2, 1.0, 0.35), "PD": (1.2, 1.0, 1.15)}


@pytest.fixture(scope="module")
def template():
    return load_template("template_2mm")


def _painted(template, contrast: str) -> np.ndarray:
    gray, white, fluid = PAINTS[contrast]
    image = gray * template.gray_matter + white * template.white_matter + fluid * template.cerebrospinal_fluid
    noise = np.random.default_rng(0).normal(0.0, 0.02, image.shape)
    return np.where(template.brain_mask, image + noise, 0.0).astype(np.float32)


def _stripped_scan(template, contrast: str = "T1w") -> Scan:
    return Scan(100.0 * _painted(template, contrast), template.grid, "unknown", "painted")


def _head_scan(template) -> Scan:
    """The painted brain inside a shell of skull and scalp."""
    scan = _stripped_scan(template)
    outside = ndimage.distance_transform_edt(~template.brain_mask, sampling=2.0)
    shell = np.where((outside > 4.0) & (outside < 16.0), 90.0, 0.0)
    return replace(scan, array=np.where(template.brain_mask, scan.array, shell).astype(np.float32))


def test_every_axis_order_becomes_ras_without_moving_a_voxel():
    array = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    tilt = np.array([[0.99, -0.1, 0.05, 3.0], [0.1, 0.99, 0.02, -7.0], [-0.05, -0.02, 1.0, 11.0], [0, 0, 0, 1]])
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        matrix = np.zeros((4, 4))
        matrix[3, 3] = 1.0
        for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
            matrix[world, axis] = 2.0 * sign
        grid = Grid((3, 4, 5), tilt @ matrix)
        turned, ras = to_ras(array, grid)
        assert ras.axis_codes == "RAS"
        where = np.argwhere(array == 37.0)
        np.testing.assert_allclose(ras.to_world(np.argwhere(turned == 37.0)), grid.to_world(where), atol=1e-9)


def test_grids_have_the_shapes_of_the_papers():
    assert grid_named("luo_1mm").shape == (160, 192, 96)
    assert grid_named("template_2mm").shape == (96, 112, 96)
    assert grid_named("template_1mm").same_as(load_template("template_1mm").grid)
    np.testing.assert_allclose(grid_named("template_2mm").center, grid_named("template_1mm").center)


def test_a_stripped_brain_is_recognized_and_a_head_is_not(template):
    mask = stripped_brain(_stripped_scan(template))
    assert mask is not None
    assert (mask == ndimage.binary_fill_holes(template.brain_mask)).mean() > 0.999
    assert stripped_brain(_head_scan(template)) is None


def test_stripping_is_recognized_with_negative_values_and_another_background(template):
    scan = _stripped_scan(template)
    shifted = replace(scan, array=np.where(template.brain_mask, scan.array - 60.0, -1000.0).astype(np.float32))
    assert stripped_brain(shifted) is not None


def test_a_mask_that_is_no_brain_is_refused(template):
    small = np.zeros(template.grid.shape, bool)
    small[40:50, 40:50, 40:50] = True
    with pytest.raises(PreparationError, match="8 mL"):
        find_brain(_stripped_scan(template), given=small)


def test_asking_for_a_stripped_image_that_is_none_says_so(template):
    with pytest.raises(PreparationError, match="not a brain-extracted image"):
        find_brain(_head_scan(template), "stripped")


@needs("ixi_t1_2mm")
def test_a_real_head_of_a_childs_size_on_exact_zero_keeps_its_brain_only():
    folder = sorted(path for path in (FOLDER / "ixi_t1_2mm").iterdir() if path.is_dir())[12]
    scan = read_scan(folder / f"{folder.name}_T1.nii.gz")
    head = ndimage.binary_opening(scan.array > np.percentile(scan.array, 60))
    labels, _ = ndimage.label(head)
    head = ndimage.binary_fill_holes(labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]))
    grid = Grid(scan.grid.shape, scan.grid.affine @ np.diag([0.78, 0.78, 0.78, 1.0]))
    child = Scan(np.where(head, scan.array, 0.0).astype(np.float32), grid, "T1w", "child")
    assert stripped_brain(child) is not None
    found = find_brain(child)
    assert found.method == "network"
    assert grid.volume_ml(found.mask) < 0.6 * grid.volume_ml(stripped_brain(child))


@pytest.mark.parametrize("contrast", PAINTS)
def test_a_stripped_brain_of_every_contrast_is_no_head(template, contrast):
    assert find_brain(_stripped_scan(template, contrast)).method == "stripped"


@needs("mslub_ms")
@pytest.mark.parametrize("background", ["zero", "scored too"])
def test_a_z_scored_scan_is_prepared_as_before(background):
    scan = read_scan(FOLDER / "mslub_ms" / "patient19" / "patient19_FLAIR_MNI_brain.nii.gz", "FLAIR")
    inside = scan.array[scan.array > 0]
    scored = replace(scan, array=((scan.array - inside.mean()) / inside.std()).astype(np.float32))
    if background == "zero":
        scored = replace(scored, array=np.where(scan.array > 0, scored.array, 0.0).astype(np.float32))
    before, after = (prepare(one, Recipe(grid="template_2mm")) for one in (scan, scored))
    assert after.warnings == before.warnings
    both = before.brain_mask & after.brain_mask
    assert both.sum() > 0.99 * before.brain_mask.sum()
    assert np.abs(after.image - before.image)[both].mean() < 0.03
    own = after.intensity_scale.undo(after.image)[both]
    assert np.median(own) == pytest.approx(np.median(scored.array[scan.array > 0]), abs=0.1)


def test_what_resampling_left_below_zero_about_a_brain_is_background(template):
    scan = _stripped_scan(template)
    inside = scan.array > 0.0
    rim = ndimage.binary_dilation(inside, iterations=3) & ~inside
    ringing = -np.abs(np.random.default_rng(0).normal(0.0, 0.03 * scan.array.max(), scan.array.shape))
    rung = replace(scan, array=np.where(rim, ringing, scan.array).astype(np.float32))
    before, after = (prepare(one, Recipe(grid="template_2mm")) for one in (scan, rung))
    assert np.array_equal(after.native_brain_mask, before.native_brain_mask)
    assert np.allclose(after.image, before.image, atol=1e-3)


def test_a_mask_is_no_scan(template):
    scan = _stripped_scan(template)
    mask = replace(scan, array=(scan.array > 0.0).astype(np.float32))
    with pytest.raises(PreparationError, match="it is a mask, not a scan"):
        prepare(mask, Recipe(grid="template_2mm"))


def test_a_brain_of_no_adults_size_is_warned_about(template):
    grid = Grid(template.grid.shape, template.grid.affine @ np.diag([0.8, 0.8, 0.8, 1.0]))
    small = replace(_stripped_scan(template), grid=grid)
    warnings = prepare(small, Recipe(grid="template_2mm")).warnings
    assert any("an adult's has 1000 to 2000 mL" in warning for warning in warnings)
    usual = prepare(_stripped_scan(template), Recipe(grid="template_2mm")).warnings
    assert not any("adult" in warning for warning in usual)


def test_an_unknown_brain_mask_method_is_named(template):
    with pytest.raises(OptionsError, match="no brain mask method 'otsu'"):
        find_brain(_stripped_scan(template), "otsu")


def test_the_brain_is_found_as_the_recipe_says_unless_told_otherwise(template):
    scan, recipe = _stripped_scan(template), Recipe(grid="template_2mm", brain="registration")
    assert prepare(scan, recipe).brain_mask_method == "registration"
    told = prepare(scan, recipe, brain_mask_method="stripped")
    assert told.brain_mask_method == "stripped"
    assert any("made with brains found by 'registration'" in warning for warning in told.warnings)


def test_bias_correction_flattens_white_matter(template):
    clean = 100.0 * _painted(template, "T1w")
    ramp = np.linspace(0.7, 1.3, clean.shape[0])[:, None, None]
    white = template.white_matter > 0.95
    drifted = (clean * ramp).astype(np.float32)
    corrected = correct_bias(drifted, template.grid, template.brain_mask)

    def spread(image):
        return image[white].std() / image[white].mean()

    assert spread(corrected) < 0.5 * spread(drifted)
    inside = template.brain_mask
    assert np.median(corrected[inside]) == pytest.approx(np.median(drifted[inside]), rel=0.02)


def test_intensity_scales_do_what_they_say(template):
    image, inside = 250.0 * _painted(template, "T1w"), template.brain_mask
    white = intensity_scale(image, inside, template, "white_matter")
    assert np.median(white.apply(image)[template.white_matter > 0.9]) == pytest.approx(1.0, abs=0.03)
    unit = intensity_scale(image, inside, template, "unit_range").apply(image)[inside]
    assert (unit.min(), unit.max()) == (0.0, 1.0)
    kascenas = intensity_scale(image, inside, template, "percentile_99").apply(image)[inside]
    assert np.percentile(kascenas, 99) == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_allclose(white.undo(white.apply(image)), image, atol=1e-2)


def test_white_matter_scale_ignores_a_large_lesion(template):
    image, inside = _painted(template, "T1w"), template.brain_mask
    lesion = np.zeros_like(inside)
    lesion[55:75, 40:80, 45:65] = True
    before, after = (
        intensity_scale(volume, inside, template, "white_matter").factor
        for volume in (image, np.where(lesion, 0.3, image).astype(np.float32))
    )
    assert after == pytest.approx(before, rel=0.03)


def test_intensities_without_a_positive_reference_are_refused(template):
    with pytest.raises(PreparationError, match="not positive"):
        intensity_scale(np.full(template.grid.shape, -5.0, np.float32), template.brain_mask, template, "white_matter")


@pytest.mark.parametrize("contrast", PAINTS)
def test_contrast_is_told_from_tissue_intensities(template, contrast):
    guess = guess_contrast(_painted(template, contrast), template.brain_mask, template)
    assert guess.contrast == contrast
    assert guess.confidence > 0.7


def test_a_flat_brain_has_no_sure_contrast(template):
    flat = template.brain_mask.astype(np.float32)
    assert guess_contrast(flat, template.brain_mask, template).confidence < 0.9


def test_recipes_differ_in_identity_and_come_back_from_json():
    recipes = [Recipe(), Recipe(grid="template_2mm"), Recipe(bias_correction=False), Recipe(intensity="unit_range")]
    recipes += [Recipe(brain="hd-bet"), Recipe(brain_weights="")]
    assert len({recipe.identity() for recipe in recipes}) == len(recipes)
    assert recipe_from_json({"grid": "template_2mm"}) == recipes[1]
    for values in ({"grid": "moon"}, {"surprise": 1}, {"registration": "warp"}, {"intensity": "loud"}):
        with pytest.raises(OptionsError):
            recipe_from_json(values)


def test_a_damaged_template_is_refused(tmp_path, monkeypatch):
    copy = tmp_path / "Resources"
    shutil.copytree(resources_folder() / "Template", copy / "Template")
    volume = copy / "Template" / "icbm152_t1_brain.nii.gz"
    volume.write_bytes(volume.read_bytes()[:-100])
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(copy))
    load_template.cache_clear()
    try:
        with pytest.raises(PackageError, match="damaged"):
            load_template("template_2mm")
    finally:
        load_template.cache_clear()


def test_preparation_finds_its_way_back(template):
    prepared = prepare(_stripped_scan(template), Recipe(grid="template_2mm"))
    assert prepared.quality.verdict == "good"
    assert prepared.contrast.contrast == "T1w"
    assert prepared.brain_mask_method == "stripped"
    np.testing.assert_allclose(prepared.native_from_template, np.eye(4), atol=1.5)
    there = prepared.to_native(prepared.image)
    inside = ndimage.binary_erosion(template.brain_mask, iterations=2)
    assert np.corrcoef(there[inside], _painted(template, "T1w")[inside])[0, 1] > 0.97


def test_a_wrong_given_contrast_is_warned_about(template):
    scan = replace(_stripped_scan(template), contrast="FLAIR")
    warnings = prepare(scan, Recipe(grid="template_2mm")).warnings
    assert any("given as FLAIR but looks like T1w" in warning for warning in warnings)


def test_a_run_can_be_cancelled_at_every_stage(template):
    stages: list[str] = []
    detect(_stripped_scan(template), HistogramDetector(), progress=lambda stage, fraction: stages.append(stage))
    for wanted in dict.fromkeys(stages):

        def stop(stage: str, fraction: float, wanted: str = wanted) -> None:
            if stage == wanted:
                raise Cancelled

        if stages.index(wanted) < 3:
            with pytest.raises(Cancelled):
                detect(_stripped_scan(template), HistogramDetector(), progress=stop)


@pytest.mark.parametrize("options", [{"threshold": float("nan")}, {"threshold": -1.0}, {"minimum_mm3": -1.0}])
def test_impossible_options_are_refused(options):
    with pytest.raises(OptionsError):
        DetectionOptions(**options).checked()


def test_a_tool_that_is_not_installed_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(DependencyError, match="hd-bet is not installed"):
        installed_tool("hd-bet")


@needs("ixi_t1_2mm")
def test_deepbet_if_the_user_has_it():
    try:
        installed_tool("deepbet")
    except DependencyError as error:
        pytest.skip(error.sentence())
    folder = FOLDER / "ixi_t1_2mm" / "IXI012-HH-1211"
    scan = read_scan(folder / "IXI012-HH-1211_T1.nii.gz")
    truth = ndimage.binary_fill_holes(read_scan(folder / "IXI012-HH-1211_DLMUSE.nii.gz").array > 0)
    found = brain_by_tool(scan, "deepbet")
    assert 2.0 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.95
