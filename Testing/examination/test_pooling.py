"""Evidence of several contrasts pooled: what it means, and that it means the same for every set of contrasts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from BrainAnomalyLib.examination.examination import pooled_map
from BrainAnomalyLib.examination.joint_intensity import joint_evidence
from BrainAnomalyLib.examination.pooling import JOINT, MOST_EVIDENCE, WEIGHTS, correlation, map_evidence, pooled
from BrainAnomalyLib.findings.contrasts_seen import with_contrasts
from BrainAnomalyLib.preparation.space.template import load_template
from made_detection import made_detection

RATES = {0.1: 0.75, 0.05: 0.9, 0.01: 1.4, 0.005: 1.6, 0.001: 2.0}


def test_a_map_is_read_off_its_rates_and_carried_on_in_a_line() -> None:
    values = np.array([0.0, 0.75, 1.4, 2.0, 2.6, 1e6], dtype=np.float32)
    assert map_evidence(values, RATES) == pytest.approx([0.0, 1.0, 2.0, 3.0, 4.0, MOST_EVIDENCE], abs=1e-5)


@pytest.mark.parametrize("names", [("FLAIR", "T2w"), ("FLAIR", "T2w", "T1w"), ("T2w", "T1w")])
def test_pooled_evidence_of_healthy_voxels_is_what_its_unit_says(names: tuple[str, ...]) -> None:
    """Parts that are exponential and depend on each other as painted heads do: one voxel of a hundred is above 2."""
    parts = [*names, JOINT]
    random = np.random.default_rng(3)
    # A Gaussian copula: about as dependent as parts of that correlation are.
    normal = random.multivariate_normal(np.zeros(len(parts)), correlation(parts), 100_000)
    values = {name: (-norm.logsf(normal[:, k]) / np.log(10.0)).astype(np.float32) for k, name in enumerate(parts)}
    found = pooled(values)
    for level in (1.0, 2.0, 3.0):
        assert -np.log10(np.mean(found > level)) == pytest.approx(level, abs=0.3)


def test_more_evidence_of_any_contrast_is_more_evidence() -> None:
    base = {name: np.full(1, 1.0, dtype=np.float32) for name in ("FLAIR", "T2w", "T1w", JOINT)}
    for name in base:
        assert pooled({**base, name: np.full(1, 3.0, dtype=np.float32)})[0] > pooled(base)[0]


def test_every_contrast_has_a_weight_and_correlations_are_a_correlation_matrix() -> None:
    matrix = correlation(["FLAIR", "T2w", "T1w", "PD", JOINT])
    assert np.array_equal(matrix, matrix.T)
    assert (np.diag(matrix) == 1.0).all()
    assert set(WEIGHTS) == {"FLAIR", "T2w", "T1w", "PD", JOINT}


def test_where_a_scan_does_not_reach_the_others_speak_alone() -> None:
    evidence = {name: np.full((2, 1, 1), value, dtype=np.float32) for name, value in {"FLAIR": 2.0, "T2w": 4.0}.items()}
    fields = {"FLAIR": np.array([True, True])[:, None, None], "T2w": np.array([True, False])[:, None, None]}
    found = pooled_map(evidence, fields)
    assert found[1, 0, 0] == pytest.approx(2.0, abs=1e-3)
    assert found[0, 0, 0] > 2.0


@pytest.fixture(scope="module")
def contrasts() -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """A template brain as T1w and T2w, and a lesion that is bright on both, as no tissue is."""
    template = load_template("template_2mm")
    white, gray, fluid = template.white_matter, template.gray_matter, template.cerebrospinal_fluid
    random = np.random.default_rng(0)
    images = [1.0 * white + 0.7 * gray + 0.3 * fluid, 1.0 * white + 1.3 * gray + 2.2 * fluid]
    images = [(image + 0.04 * random.standard_normal(image.shape)).astype(np.float32) for image in images]
    lesion = np.zeros(images[0].shape, dtype=np.bool_)
    lesion[60:65, 50:55, 58:63] = True
    for image in images:
        image[lesion] *= 1.35
    return images, lesion & template.brain_mask, template.brain_mask


def test_what_no_tissue_explains_is_rare_whatever_the_units(contrasts: tuple) -> None:
    images, lesion, inside = contrasts
    template = load_template("template_2mm")
    found = joint_evidence(images, inside, template.grid, np.eye(4))
    other = joint_evidence([images[0] * 700.0, images[1] * 0.01], inside, template.grid, np.eye(4))
    assert np.median(found[lesion]) > 2.0
    assert np.median(found[inside & ~lesion]) < 0.4
    assert np.abs(found - other).max() < 0.05
    assert (found[~inside] == 0.0).all()


def test_a_finding_says_on_which_contrasts_it_is_bright_or_dark() -> None:
    detection = made_detection()
    flair, t1w, quiet = (np.zeros(detection.anomaly.shape, dtype=np.float32) for _ in range(3))
    flair[10:13, 10:13, 10:13] = 4.0
    t1w[10:13, 10:13, 10:13] = -3.0
    t1w[3:5, 3:5, 3:5] = 5.0
    signed = {"FLAIR": flair, "T2w": quiet, "T1w": t1w, JOINT: flair}
    found = with_contrasts(detection.findings, signed)
    assert [row.contrasts for row in found.table] == ["FLAIR +, T1w -", "T1w +"]
    moved = replace(detection, components=signed).with_threshold(3.5, 20.0)
    assert [row.contrasts for row in moved.findings.table] == ["FLAIR +, T1w -", "T1w +"]
    assert [row.contrasts for row in with_contrasts(detection.findings, {JOINT: flair}).table] == ["", ""]
