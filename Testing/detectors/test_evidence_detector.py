"""Detectors that weigh evidence: packages of their own, tables by contrast, and a calibration that is out of sample."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy import ndimage

from BrainAnomalyLib.detection import DetectionOptions, detect_aligned
from BrainAnomalyLib.detectors.baselines.tissue import TissueDetector
from BrainAnomalyLib.detectors.evidence_detector import TABLE_PREFIX, EvidenceDetector
from BrainAnomalyLib.detectors.other_grid import at_2_mm
from BrainAnomalyLib.detectors.protocol import Reconstruction
from BrainAnomalyLib.detectors.registry import detector_for, embedded_folder, load_detector, trainable_names
from BrainAnomalyLib.detectors.shipped import combined
from BrainAnomalyLib.detectors.shipped.combined import CombinedConfig, CombinedDetector, CombinedT1wDetector
from BrainAnomalyLib.errors import OptionsError, PackageError
from BrainAnomalyLib.io.volumes import Scan, read_scan
from BrainAnomalyLib.packages.read import read_package
from BrainAnomalyLib.preparation.pipeline import align, prepare
from BrainAnomalyLib.preparation.prepared import PreparedScan
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyLib.preparation.space.template import load_template
from BrainAnomalyLib.scoring.evidence import weighted_evidence
from BrainAnomalyLib.scoring.guard import assess
from BrainAnomalyLib.scoring.normal_level import smoothed_inside
from BrainAnomalyLib.scoring.scan_level import scan_scores
from BrainAnomalyTrainingLib.calibrate.calibration import CalibrationError
from BrainAnomalyTrainingLib.calibrate.evidence_calibration import calibrated_by_evidence, folds_of
from BrainAnomalyTrainingLib.calibrate.kinds import calibrated
from BrainAnomalyTrainingLib.export.model_card import model_card
from BrainAnomalyTrainingLib.run.run_folder import RunFolder
from BrainAnomalyTrainingLib.training_commands import main
from family_proof import SCANS, on_template, with_blob
from prepared_cohorts import COARSE, coarse_brain
from shared_data import needs
from synthetic import save_nifti

RECIPE = Recipe(grid="template_2mm")


class BrightnessDetector(EvidenceDetector):
    """How bright a voxel is, as the only evidence."""

    name = "brightness"
    title = "Brightness"
    contrasts = ("FLAIR", "T2w")
    part_names: ClassVar[tuple[str, ...]] = ()
    Config = CombinedConfig
    recipe = RECIPE

    def component_names(self) -> tuple[str, ...]:
        return ("brightness",)

    def weights(self, contrast) -> tuple[float, ...]:
        return (1.0,)

    def reconstruct(self, prepared, progress=None):
        return Reconstruction(prepared.image, parts={"brightness": prepared.image})


@dataclass(frozen=True)
class HeldScan:
    """A healthy scan of a cohort in memory; the brighter the further its values reach."""

    subject: str
    reach: float
    scanner: str = ""
    contrast: str = "FLAIR"

    def prepared(self, recipe: Recipe) -> PreparedScan:
        mask = load_template("template_2mm").brain_mask
        noise = np.random.default_rng(int(self.subject)).uniform(0.0, self.reach, mask.shape)
        return replace(on_template(noise.astype(np.float32), mask, recipe), given=self.contrast)

    def image(self) -> np.ndarray:
        return self.prepared(RECIPE).image

    def mask(self) -> np.ndarray:
        return self.prepared(RECIPE).brain_mask


def brightness() -> BrightnessDetector:
    return BrightnessDetector(CombinedConfig(), {})


def test_thresholds_come_from_subjects_whose_tables_never_saw_them(tmp_path):
    scans = [HeldScan(str(number), reach) for number, reach in enumerate((1.0, 1.0, 1.0, 2.0))]
    outcome = calibrated(brightness(), scans, RunFolder(tmp_path))
    table = outcome.tensors[TABLE_PREFIX + "brightness"].numpy()
    pooled = np.concatenate([scan.image()[scan.mask()] for scan in scans])
    np.testing.assert_allclose(table[4], np.quantile(pooled, 1.0 - 10.0**-0.75), rtol=1e-3)
    # In sample, a tenth of a percent of all voxels has evidence of 3; by the others' tables half of the fourth brain
    # lies beyond everything.
    assert outcome.entry["quantiles"]["0.001"] > 6.0
    assert outcome.entry["quantiles"]["0.1"] > 3.0
    assert "4 folds" in outcome.entry["realised"]["method"]
    assert outcome.entry["rests_on"]["evidence tables"] == "4 healthy scans"
    assert not list(tmp_path.glob("calibration-*"))


def test_sessions_of_a_subject_share_a_fold_and_scanners_are_spread():
    scans = [HeldScan(str(number % 6), 1.0, "AB"[number % 2]) for number in range(12)]
    folds = folds_of(scans, 3)
    assert sorted(index for fold in folds for index in fold) == list(range(12))
    for fold in folds:
        assert len({scans[index].subject for index in fold}) == 2
        rest = {scans[index].subject for other in folds if other is not fold for index in other}
        assert rest.isdisjoint({scans[index].subject for index in fold})
        assert {scans[index].scanner for index in fold} == {"A", "B"}


def test_one_subject_is_refused_unless_the_recipe_allows_it_and_then_says_so(tmp_path):
    alone = [HeldScan("1", 1.0)]
    with pytest.raises(CalibrationError, match="only one"):
        calibrated(brightness(), alone, RunFolder(tmp_path))
    outcome = calibrated_by_evidence(brightness(), alone, RunFolder(tmp_path), alone=True)
    assert "in sample" in outcome.entry["realised"]["method"]
    assert "no cohort" in outcome.entry["default_source"]
    assert "guard_features" not in outcome.tensors


def test_a_contrast_that_the_detector_is_not_for_is_refused(tmp_path):
    with pytest.raises(OptionsError, match="FLAIR and T2w, not for T1w"):
        calibrated(brightness(), [HeldScan("1", 1.0, contrast="T1w")], RunFolder(tmp_path))
    with pytest.raises(OptionsError, match="no calibration of its own"):
        calibrated(TissueDetector(), [HeldScan("1", 1.0)], RunFolder(tmp_path))


def flair_like(given: str = "unknown") -> tuple[PreparedScan, np.ndarray]:
    """The template's tissues at FLAIR intensities, with a bright lesion in white matter."""
    template = load_template("template_1mm")
    mask = template.white_matter + template.gray_matter + template.cerebrospinal_fluid > 0.5
    image = template.white_matter + 1.15 * template.gray_matter + 0.4 * template.cerebrospinal_fluid
    noise = np.random.default_rng(0).normal(scale=0.03, size=image.shape)
    prepared = on_template((image + noise).astype(np.float32), mask, Recipe(grid="template_1mm"))
    lesion = np.zeros_like(mask)
    center = np.argwhere(template.white_matter > 0.98)
    place = center[len(center) // 3]
    distance = np.linalg.norm(np.indices(mask.shape).T - place, axis=-1).T
    lesion[(distance < 6.0) & mask] = True
    return replace(prepared, given=given, image=np.where(lesion, 1.6, prepared.image).astype(np.float32)), lesion


def test_the_combined_map_has_all_components_and_sees_a_bright_lesion():
    prepared, lesion = flair_like()
    assert prepared.contrast.contrast == "FLAIR"
    detector = load_detector("combined", device="cpu")
    reconstruction = detector.reconstruct(prepared)
    score = detector.score(prepared, reconstruction)
    assert set(score.components) == {"tissue", "network", "asymmetry", "deviation"}
    for part in score.components.values():
        assert part[lesion].mean() > 3 * part[score.evaluated & ~lesion].mean()
    weights = detector.config
    names = (
        *(("tissue", weights.anatomy), ("network", weights.network)),
        *(("asymmetry", weights.asymmetry), ("deviation", 0.0)),
    )
    total = sum(weight for _, weight in names)
    expected = sum(score.components[name] * weight for name, weight in names) / total
    np.testing.assert_allclose(score.anomaly, expected, atol=1e-5)
    assert (score.anomaly[lesion] > detector.threshold_for("FLAIR").value).mean() > 0.5
    assert reconstruction.pseudo_healthy[lesion].mean() < prepared.image[lesion].mean()
    np.testing.assert_array_equal(score.evaluated, TissueDetector().score(prepared, None).evaluated)


def test_the_given_contrast_chooses_tables_and_threshold_whatever_the_intensities_tell():
    detector = load_detector("combined", device="cpu")
    seen, _ = flair_like()
    made = detector.reconstruct(seen)
    as_t2w = detector.score(replace(seen, given="T2w"), made).components["network"]
    assert not np.array_equal(detector.score(seen, made).components["network"], as_t2w)
    only_t2w = detector.fitted_to("T2w", detector.fitted["T2w"])
    np.testing.assert_array_equal(as_t2w, only_t2w.score(replace(seen, given="T2w"), made).components["network"])


def test_detection_takes_tables_and_threshold_of_the_given_contrast():
    stated = {"quantiles": {}, "default_source": "made", "default_threshold": 1.0}
    calibration = {**stated, "by_contrast": {"T2w": {**stated, "default_threshold": 3.0}}}
    tables = {
        name: {TABLE_PREFIX + "brightness": np.linspace(0.0, top, 14)} for name, top in (("FLAIR", 1), ("T2w", 2))
    }
    detector = BrightnessDetector(CombinedConfig(), {}, tables, calibration)
    scan = Scan(coarse_brain(1), COARSE, "unknown", "looks like FLAIR")
    aligned = align(scan, RECIPE)
    found = {
        given: detect_aligned(replace(aligned, scan=replace(scan, contrast=given)), detector, DetectionOptions())
        for given in ("unknown", "FLAIR", "T2w")
    }
    assert {one.contrast.contrast for one in found.values()} == {"FLAIR"}
    assert {given: one.findings.threshold for given, one in found.items()} == {"unknown": 1.0, "FLAIR": 1.0, "T2w": 3.0}
    np.testing.assert_array_equal(found["unknown"].anomaly, found["FLAIR"].anomaly)
    assert found["T2w"].anomaly.mean() < 0.8 * found["FLAIR"].anomaly.mean()


def test_the_scan_on_the_networks_grid_keeps_its_intensities_up_to_the_rim():
    prepared, _ = flair_like()
    small = at_2_mm(prepared)
    assert small.image.shape == small.template.grid.shape
    sure = small.brain_mask & (small.template.white_matter > 0.95)
    assert float(np.median(small.image[sure])) == pytest.approx(1.0, abs=0.03)
    even = at_2_mm(replace(prepared, image=prepared.brain_mask.astype(np.float32)))
    rim = even.brain_mask & ~ndimage.binary_erosion(even.brain_mask)
    np.testing.assert_allclose(even.image[rim], 1.0, atol=0.01)
    assert not even.image[~even.brain_mask].any()


@needs("ds002748_t1_brain_2mm")
def test_t1w_is_judged_by_both_networks_with_a_guard_and_calibrated_thresholds():
    detector = load_detector("combined_t1w", device="cpu")
    assert isinstance(detector, CombinedT1wDetector)
    healthy = prepare(read_scan(SCANS / "sub-01_T1w.nii.gz", "T1w"), detector.recipe)
    plain = detector.score(healthy, detector.reconstruct(healthy))
    assert set(plain.components) == {"denoising", "network", "asymmetry", "deviation", "normative"}
    mean = weighted_evidence([plain.components[name] for name in detector.component_names()], detector.weights("T1w"))
    np.testing.assert_allclose(plain.anomaly, smoothed_inside(mean, plain.evaluated, 1.2), atol=1e-5)
    advice = detector.threshold_for("T1w")
    assert set(advice.by_false_positive_rate) >= {0.01, 0.05}
    own = {r: float((plain.anomaly[healthy.brain_mask] > at).mean()) for r, at in advice.by_false_positive_rate.items()}
    assert all(share < 4.5 * rate for rate, share in own.items())
    # One scan says little of one voxel in a thousand.
    assert all(share > rate / 4.5 for rate, share in own.items() if rate >= 0.005)
    ill, changed = with_blob(healthy, 0.35)
    found = detector.score(ill, detector.reconstruct(ill)).anomaly
    assert found[changed].mean() > 3 * plain.anomaly[changed].mean()
    bank = detector.guard_for("T1w")
    assert bank.contrasts == ("T1w",)
    scores = scan_scores(plain.anomaly, healthy.brain_mask)
    assert assess(healthy, plain.anomaly, scores, bank).verdict != "out of distribution"
    inverted = replace(healthy, image=np.where(healthy.brain_mask, 1.5 - healthy.image, 0.0).astype(np.float32))
    bad = detector.score(inverted, detector.reconstruct(inverted)).anomaly
    assert assess(inverted, bad, scan_scores(bad, inverted.brain_mask), bank).verdict == "out of distribution"


def test_t1w_says_nothing_where_healthy_scans_have_no_brain_and_counts_by_the_place():
    detector = load_detector("combined_t1w", device="cpu")
    template = load_template("template_2mm")
    everywhere = on_template(template.brain, np.ones_like(template.brain_mask), detector.recipe)
    inside = detector.evaluated(everywhere)
    assert inside[template.brain_mask].mean() > 0.97
    outside = ndimage.distance_transform_edt(~template.brain_mask, sampling=2.0) > 12.0
    assert not inside[:, :, 48:][outside[:, :, 48:]].any(), "above the brain stem"
    ones = np.ones(template.grid.shape, dtype=np.float32)
    made = Reconstruction(ones, parts=dict.fromkeys(("denoising", "network", "asymmetry", "deviation"), ones))
    maps = detector.component_maps(everywhere, made)
    for name in ("denoising", "network", "asymmetry"):
        level = 1.0 / maps[name][template.brain_mask]
        assert 0.7 < level.min() < 0.95 < np.median(level) < 1.05 < 1.1 < level.max() < 5.0


def test_contrasts_choose_what_measured_best_and_each_default_is_a_package_of_its_own():
    assert [detector_for(name) for name in ("T1w", "FLAIR", "T2w", "PD")] == [
        "combined_t1w", "combined", "combined", "tissue",
    ]  # fmt: skip
    assert not {"combined", "combined_t1w"} & set(trainable_names())
    assert [embedded_folder(name).name for name in ("combined", "combined_t1w")] == ["combined", "combined_t1w"]
    detector = load_detector("combined", device="cpu")
    assert isinstance(detector, CombinedDetector)
    assert detector.threshold_for("T2w").value != detector.threshold_for("FLAIR").value
    assert detector.package_identity == read_package(embedded_folder("combined")).identity


def test_networks_inside_a_package_are_those_of_the_packages_it_was_made_of():
    whole = load_detector("combined_t1w", device="cpu")
    for name, alone in (("network", "any_contrast"), ("denoising", "denoising")):
        own, other = whole.parts[name], load_detector(alone, device="cpu")
        assert all(
            torch.equal(value, other.network.state_dict()[key]) for key, value in own.network.state_dict().items()
        )
        np.testing.assert_array_equal(own.calibration["healthy_rms"], other.calibration["healthy_rms"])
        assert own.config == other.config


def test_a_package_without_tables_or_of_another_detector_is_refused_in_words(monkeypatch):
    package = read_package(embedded_folder("combined"))
    with pytest.raises(PackageError, match="is for the detector 'combined'"):
        load_detector("combined_t1w", package.folder, "cpu")
    bare = {name: value for name, value in package.calibration().items() if TABLE_PREFIX not in name}
    own = type(package).calibration
    monkeypatch.setattr(type(package), "calibration", lambda self: own(self) if self.prefix else bare)
    with pytest.raises(PackageError, match="no evidence tables"):
        CombinedDetector.from_package(package, "cpu")


def test_tables_of_another_structure_network_are_refused_in_words(monkeypatch):
    monkeypatch.setattr(combined, "structures_identity", lambda: "another")
    with pytest.raises(PackageError, match="another structure network"):
        load_detector("combined", device="cpu")


@pytest.mark.slow
def test_a_site_calibrates_the_default_for_flair_and_keeps_what_it_did_not_measure(tmp_path):
    for number in range(3):
        save_nifti(tmp_path / "scans" / f"sub-{number:02d}_FLAIR.nii.gz", coarse_brain(number), COARSE.affine)
    out = tmp_path / "own"
    command = ["calibrate", embedded_folder("combined"), tmp_path / "scans", "--out", out, "--site", "Ward 7"]
    assert main([str(part) for part in (*command, "--workers", 1, "--device", "cpu", "--quiet")]) == 0
    before, after = load_detector("combined", device="cpu"), load_detector("combined", out, "cpu")
    table = TABLE_PREFIX + "tissue"
    assert not np.array_equal(after.fitted["FLAIR"][table], before.fitted["FLAIR"][table])
    np.testing.assert_array_equal(after.fitted["T2w"][table], before.fitted["T2w"][table])
    assert after.threshold_for("T2w") == before.threshold_for("T2w")
    assert after.threshold_for("FLAIR").source.endswith("measured on 3 held-out healthy scans of Ward 7")
    assert before.guard_for("FLAIR") is None
    assert after.guard_for("FLAIR").scans == 3
    metadata = json.loads((out / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert metadata["calibration"]["rests_on"]["evidence tables"] == "3 healthy scans of Ward 7"
    assert metadata["version"] == "2.1.1"
    assert "Ward 7" in metadata["changelog"]["2.1.1"]
    assert (out / "docs" / "README.md").read_text(encoding="utf-8") == model_card(metadata)
    again = Path(out.parent / "again")
    assert (
        main(["calibrate", str(out), str(tmp_path / "scans"), "--contrast", "T1w", "--out", str(again), "--quiet"]) != 0
    )


@pytest.mark.slow
@needs("ds002748_t1_brain_2mm")
def test_a_site_calibrates_the_default_for_t1w_and_few_scans_keep_the_levels_at_a_place(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in (1, 2, 3):
        (folder / f"sub-{number:02d}_T1w.nii.gz").symlink_to(SCANS / f"sub-{number:02d}_T1w.nii.gz")
    out = tmp_path / "own"
    command = ["calibrate", embedded_folder("combined_t1w"), folder, "--out", out, "--workers", 1, "--device", "cpu"]
    assert main([*(str(part) for part in command), "--quiet"]) == 0
    before, after = load_detector("combined_t1w", device="cpu"), load_detector("combined_t1w", out, "cpu")
    for name in ("coverage", "level_denoising", "normative_mean"):
        np.testing.assert_array_equal(after.fitted["T1w"][name], before.fitted["T1w"][name])
    assert not np.array_equal(after.fitted["T1w"]["table_denoising"], before.fitted["T1w"]["table_denoising"])
    assert after.threshold.value != before.threshold.value
    said = read_package(out).metadata["calibration"]["rests_on"]
    assert "20 subjects are needed" in said["normal levels and intensities at a place"]
