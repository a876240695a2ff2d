"""Detectors that weigh evidence: packages of their own, tables by contrast, and a calibration that is out of sample."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
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
from BrainAnomalyLib.detectors.shipped.combined import CombinedConfig, CombinedDetector
from BrainAnomalyLib.errors import OptionsError, PackageError
from BrainAnomalyLib.findings.table import find
from BrainAnomalyLib.io.volumes import Scan, read_scan
from BrainAnomalyLib.packages.read import read_package
from BrainAnomalyLib.preparation.pipeline import align, prepare
from BrainAnomalyLib.preparation.prepared import PreparedScan
from BrainAnomalyLib.preparation.recipe import Recipe
from BrainAnomalyLib.preparation.space.template import load_template
from BrainAnomalyLib.scoring.guard import assess
from BrainAnomalyLib.scoring.residuals import signed_residual
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

    def weights(self, contrast) -> dict[str, float]:
        return {"brightness": 1.0}

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


@pytest.mark.parametrize("scanners", ["A", "AAAAAB"])
def test_sessions_of_a_subject_share_a_fold(scanners):
    scans = [HeldScan(str(number % 6), 1.0, scanners[number % 6 % len(scanners)]) for number in range(12)]
    folds = folds_of(scans, 3)
    assert sorted(index for fold in folds for index in fold) == list(range(12))
    for fold in folds:
        assert len({scans[index].subject for index in fold}) == 2
        rest = {scans[index].subject for other in folds if other is not fold for index in other}
        assert rest.isdisjoint({scans[index].subject for index in fold})


def test_a_scanner_is_judged_by_the_others_tables_and_the_calibration_says_so(tmp_path):
    scans = [HeldScan(str(number), 1.0 + number % 2, "AB"[number % 2]) for number in range(6)]
    assert folds_of(scans) == [[0, 2, 4], [1, 3, 5]]
    outcome = calibrated(brightness(), scans, RunFolder(tmp_path))
    assert "2 scanners by tables of the others" in outcome.entry["realised"]["method"]
    # Half of the voxels of B's brains are brighter than any of A's.
    assert outcome.entry["quantiles"]["0.1"] > 4.0


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
    weights = detector.weights("FLAIR")
    assert tuple(score.components) == tuple(weights) == ("deviation", "lesion", "network", "asymmetry", "tissue")
    for part in score.components.values():
        assert part[lesion].mean() > 3 * part[score.evaluated & ~lesion].mean()
    expected = sum(score.components[name] * weight for name, weight in weights.items()) / sum(weights.values())
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
def test_t1w_has_a_guard_and_calibrated_thresholds_and_dark_lesions_are_called_darker():
    detector = load_detector("combined", device="cpu")
    healthy = prepare(read_scan(SCANS / "sub-01_T1w.nii.gz", "T1w"), detector.recipe)
    seen = detector.reconstruct(healthy)
    plain = detector.score(healthy, seen)
    assert set(plain.components) == {"deviation", "lesion", "network", "asymmetry"}
    advice = detector.threshold_for("T1w")
    assert set(advice.by_false_positive_rate) >= {0.01, 0.05}
    own = {r: float((plain.anomaly[healthy.brain_mask] > at).mean()) for r, at in advice.by_false_positive_rate.items()}
    assert all(share < 4.5 * rate for rate, share in own.items())
    # One scan says little of one voxel in a thousand.
    assert all(share > rate / 4.5 for rate, share in own.items() if rate >= 0.005)
    for gain, looks in ((0.35, "brighter"), (-0.45, "darker")):
        ill, changed = with_blob(healthy, gain)
        made = detector.reconstruct(ill)
        found = detector.score(ill, made).anomaly
        assert found[changed].mean() > 3 * plain.anomaly[changed].mean()
        grid = ill.template.grid
        residual = signed_residual(ill.image, made.pseudo_healthy, ill.brain_mask)
        table = find(found, grid, np.eye(4), advice.value, residual=residual).table
        center = grid.to_world(np.argwhere(changed).mean(axis=0)[None])[0]
        nearest = min(table, key=lambda one: np.linalg.norm(np.subtract(one.centroid_ras, center)))
        assert nearest.looks == looks
    bank = detector.guard_for("T1w")
    assert bank.contrasts == ("T1w",)
    scores = scan_scores(plain.anomaly, healthy.brain_mask)
    assert assess(healthy, plain.anomaly, scores | seen.scan_scores, bank).verdict == "in distribution"
    noisy = healthy.image + np.random.default_rng(0).normal(scale=1.0, size=healthy.image.shape)
    bad = replace(healthy, image=np.where(healthy.brain_mask, noisy, 0.0).astype(np.float32))
    verdict = assess(bad, plain.anomaly, scores | detector.reconstruct(bad).scan_scores, bank)
    assert verdict.verdict == "out of distribution"
    assert "Brain Anomaly Training" in verdict.reasons[0]


def test_one_package_is_the_choice_for_every_contrast_and_nearest_tables_say_so():
    assert [detector_for(name) for name in ("T1w", "FLAIR", "T2w", "PD", "unknown")] == [*["combined"] * 4, "anatomy"]
    assert "combined" not in trainable_names()
    detector = load_detector("combined", device="cpu")
    assert isinstance(detector, CombinedDetector)
    assert detector.package_identity == read_package(embedded_folder("combined")).identity
    thresholds = {name: detector.threshold_for(name) for name in detector.contrasts}
    assert len({advice.value for advice in thresholds.values()}) == 3
    for name in ("FLAIR", "T2w", "T1w"):
        assert "1 mL of findings" in thresholds[name].source
        assert len(thresholds[name].by_false_positive_rate) == 5
    assert thresholds["PD"].source == f"{thresholds['T2w'].source}; these are T2w, nothing was measured on PD"
    assert thresholds["PD"].value == thresholds["T2w"].value
    assert set(detector.weights("PD")) == set(detector.weights("T2w")) == set(detector.weights("FLAIR")) - {"tissue"}


def test_a_detector_of_earlier_versions_says_what_took_its_place(monkeypatch):
    with pytest.raises(OptionsError, match="became part of 'combined'") as found:
        load_detector("combined_t1w")
    assert "calibrate its package again on your own healthy scans" in found.value.remedy
    package = read_package(embedded_folder("combined"))
    monkeypatch.setitem(package.metadata, "config", {"anatomy": 2.0, "network": 1.0})
    with pytest.raises(PackageError, match="weighs other maps than now"):
        CombinedDetector.from_package(package, "cpu")
    monkeypatch.setitem(package.metadata, "detector", "combined_t1w")
    with pytest.raises(PackageError, match="became part of 'combined'"):
        CombinedDetector.from_package(package, "cpu")


def test_networks_inside_a_package_are_those_of_the_packages_it_was_made_of():
    whole = load_detector("combined", device="cpu")
    own, other = whole.parts["network"], load_detector("any_contrast", device="cpu")
    assert all(torch.equal(value, other.network.state_dict()[key]) for key, value in own.network.state_dict().items())
    np.testing.assert_array_equal(own.calibration["healthy_rms"], other.calibration["healthy_rms"])
    assert own.config == other.config


def test_a_package_without_tables_or_of_another_detector_is_refused_in_words(monkeypatch):
    package = read_package(embedded_folder("combined"))
    with pytest.raises(PackageError, match="is for the detector 'combined'"):
        BrightnessDetector.from_package(package, "cpu")
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
    table = TABLE_PREFIX + "deviation"
    assert not np.array_equal(after.fitted["FLAIR"][table], before.fitted["FLAIR"][table])
    np.testing.assert_array_equal(after.fitted["T2w"][table], before.fitted["T2w"][table])
    assert after.threshold_for("T2w") == before.threshold_for("T2w")
    assert after.threshold_for("FLAIR").source.endswith("measured on 3 held-out healthy scans of Ward 7")
    assert before.guard_for("FLAIR") is None
    assert after.guard_for("FLAIR").scans == 3
    metadata = json.loads((out / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert metadata["calibration"]["rests_on"]["evidence tables"] == "3 healthy scans of Ward 7"
    assert metadata["version"] == "3.0.1"
    assert "Ward 7" in metadata["changelog"]["3.0.1"]
    assert (out / "docs" / "README.md").read_text(encoding="utf-8") == model_card(metadata)


@pytest.mark.slow
@needs("ds002748_t1_brain_2mm")
def test_a_site_calibrates_the_default_for_t1w(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in (1, 2, 3):
        (folder / f"sub-{number:02d}_T1w.nii.gz").symlink_to(SCANS / f"sub-{number:02d}_T1w.nii.gz")
    out = tmp_path / "own"
    command = ["calibrate", embedded_folder("combined"), folder, "--out", out, "--workers", 1, "--device", "cpu"]
    assert main([*(str(part) for part in command), "--contrast", "T1w", "--quiet"]) == 0
    before, after = load_detector("combined", device="cpu"), load_detector("combined", out, "cpu")
    assert not np.array_equal(after.fitted["T1w"]["table_network"], before.fitted["T1w"]["table_network"])
    np.testing.assert_array_equal(after.fitted["FLAIR"]["table_network"], before.fitted["FLAIR"]["table_network"])
    assert after.threshold_for("T1w").value != before.threshold_for("T1w").value
    assert after.threshold_for("FLAIR") == before.threshold_for("FLAIR")
