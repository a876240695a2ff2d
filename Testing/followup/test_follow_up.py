"""Two dates from files to findings: a lesion that came, a prior as scan or result, and what is refused."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from BrainAnomalyLib.detection import Detection, description
from BrainAnomalyLib.detectors.registry import load_detector
from BrainAnomalyLib.errors import BrainAnomalyError, OptionsError, OutputError, PreparationError
from BrainAnomalyLib.findings.table import find
from BrainAnomalyLib.followup.follow_up import follow_up
from BrainAnomalyLib.followup.prior_source import read_prior, require_order
from BrainAnomalyLib.io.geometry import Grid, apply_affine, inverse
from BrainAnomalyLib.io.resampling import resample
from BrainAnomalyLib.io.volumes import Scan, read_scan
from BrainAnomalyLib.output.folder import SUMMARY, read_results, write_results
from BrainAnomalyLib.preparation.space.pair_registration import BrainImage
from BrainAnomalyLib.preparation.space.same_head import LEAST_SURPLUS, require_same_head, surplus
from BrainAnomalyLib.preparation.space.template import load_template
from BrainAnomalyLib.service.jobs import DetectionJob, run_job
from dicom_series import write_series
from made_detection import made_detection
from synthetic import LESION_CENTER, flair_brain, grid_of, noise, save_nifti

NOW = grid_of((90, 108, 60), (2.0, 2.0, 3.0), "LAS", degrees=4.0, center=(0.0, -17.0, 5.0))
BEFORE = grid_of((96, 108, 90), (2.0, 2.0, 2.0), "RAS", degrees=-3.0, center=(2.0, -15.0, 4.0))


class Dates:
    """A scan with a lesion, one of the same head without it, and the result of the earlier one."""

    def __init__(self, folder: Path) -> None:
        self.now, self.before = folder / "now.nii.gz", folder / "before.nii.gz"
        save_nifti(self.now, flair_brain(NOW), NOW.affine)
        save_nifti(self.before, flair_brain(BEFORE, lesion=False), BEFORE.affine)
        self.out, self.result = folder / "out", folder / "result_before"
        self.earlier = without_findings(read_scan(self.before, "FLAIR"))
        write_results(self.earlier, self.result, pictures=False)
        job = DetectionJob(
            self.now, self.out, "tissue", contrast="FLAIR", minimum_mm3=100.0, pictures=False, prior=(self.result,)
        )
        self.summary = run_job(job).summary
        self.followed = read_results(self.out, read_scan(self.now, "FLAIR"))


def without_findings(scan: Scan) -> Detection:
    """What the tissue reference makes of a healthy scan in template position, written down by hand."""
    tissue, nothing = load_detector("tissue"), np.zeros(scan.array.shape, dtype=np.float32)
    return replace(
        made_detection(scan.name, scan.grid),
        scan=scan,
        anomaly=nothing,
        pseudo_healthy=scan.array,
        residual=nothing,
        brain_mask=scan.array > 0,
        findings=find(nothing, scan.grid, np.eye(4), 1.1),
        detector=description(tissue, tissue.threshold_for("FLAIR")),
    )


@pytest.fixture(scope="module")
def dates(tmp_path_factory: pytest.TempPathFactory) -> Dates:
    return Dates(tmp_path_factory.mktemp("dates"))


def lesion(summary: dict) -> dict:
    distance = [np.linalg.norm(np.subtract(row["centroid_ras"], LESION_CENTER)) for row in summary["findings"]]
    assert min(distance) < 4.0
    return summary["findings"][int(np.argmin(distance))]


def test_a_lesion_that_came_is_new_with_its_volume(dates: Dates) -> None:
    found = lesion(dates.summary)
    assert (found["change"], found["prior_ml"], found["change_percent"]) == ("new", 0.0, None)
    marked = np.count_nonzero(dates.followed.anomaly > dates.followed.findings.threshold)
    assert found["change_ml"] == pytest.approx(marked * NOW.voxel_volume_mm3 / 1000.0, rel=0.1)
    assert found["volume_ml"] == found["change_ml"]


def test_nothing_else_changed_between_other_grids(dates: Dates) -> None:
    others = [row for row in dates.summary["findings"] if row != lesion(dates.summary)]
    assert {row["change"] for row in others} <= {"stable"}
    # Four voxels of 2 x 2 x 3 mm.
    prior = dates.summary["prior"]
    assert (prior["name"], prior["smallest_change_ml"]) == ("before", pytest.approx(0.048))


def test_the_table_and_the_volumes_of_the_earlier_date_are_written_and_read_again(dates: Dates) -> None:
    assert {"prior_scan.nii.gz", "prior_anomaly_map.nii.gz", "change_map.nii.gz", "subtraction.nii.gz"} <= set(
        dates.summary["files"]
    )
    with (dates.out / "findings.csv").open(encoding="utf-8", newline="") as stream:
        assert "new" in [row["change"] for row in csv.DictReader(stream)]
    prior = dates.followed.prior
    assert prior is not None
    assert prior.growth[dates.followed.findings.labels == 1].max() > 5.0
    stricter = dates.followed.with_threshold(dates.followed.findings.threshold * 1.2, 100.0)
    assert "new" in [row.change for row in stricter.findings.table]


def test_a_result_is_a_prior_as_well_and_the_other_way_round_it_is_gone(dates: Dates) -> None:
    back = follow_up(read_prior(dates.result), replace(dates.followed, prior=None))
    gone = [row for row in back.findings.table if row.change == "gone"]
    assert len(gone) == 1
    assert gone[0].change_ml == pytest.approx(-lesion(dates.summary)["change_ml"], rel=0.2)
    assert gone[0].change_percent is not None
    assert gone[0].change_percent < -80.0


def moved_head(now: Detection, resampled: bool, noise_level: float) -> Detection:
    """The same head on another day: turned by 4 degrees, 3 % brighter, by its header or on voxels of its own."""
    turn, grid = np.eye(4), now.scan.grid
    turn[:2, :2] = [[np.cos(0.07), -np.sin(0.07)], [np.sin(0.07), np.cos(0.07)]]
    turn[:3, 3] = (1.3, -2.6, 1.7)
    if not resampled:
        grid = Grid(grid.shape, inverse(turn) @ grid.affine)

    def moved(volume: np.ndarray) -> np.ndarray:
        return np.asarray(resample(volume.astype(np.float32), grid, grid, turn)) if resampled else volume

    assert now.pseudo_healthy is not None
    assert now.residual is not None
    noisy = noise_level * np.random.default_rng(5).standard_normal(grid.shape, dtype=np.float32)
    return replace(
        now,
        scan=replace(now.scan, array=1.03 * moved(now.scan.array), grid=grid, name="moved"),
        anomaly=moved(now.anomaly),
        pseudo_healthy=1.03 * moved(now.pseudo_healthy),
        residual=1.03 * moved(now.residual) + noisy,
        brain_mask=moved(now.brain_mask) > 0.5,
        template_from_native=now.template_from_native @ turn,
    )


def spotted(now: Detection) -> Detection:
    """With forty bright spots of a voxel or two, as thick slices show small lesions, in white matter."""
    assert now.residual is not None
    random, places = np.random.default_rng(3), np.argwhere(ndimage.binary_erosion(now.brain_mask, iterations=4))
    spots = np.zeros(now.scan.grid.shape, dtype=np.float32)
    spots[tuple(random.choice(places, 40, replace=False).T)] = 1.0
    spots = ndimage.gaussian_filter(spots, 0.5) / 0.3
    level = float(np.median(now.scan.array[now.brain_mask]))
    return replace(
        now,
        prior=None,
        anomaly=np.maximum(now.anomaly, 2.0 * now.findings.threshold * spots),
        residual=now.residual + 0.6 * level * spots,
    )


@pytest.mark.parametrize(
    ("resampled", "noise_share"), [(False, 0.0), (True, 0.0), (True, 0.03)], ids=["header", "voxels", "noise"]
)
def test_a_head_that_only_moved_has_not_changed(dates: Dates, resampled: bool, noise_share: float) -> None:
    now = spotted(dates.followed)
    level = float(np.median(now.scan.array[now.brain_mask]))
    found = follow_up(now, moved_head(now, resampled, noise_share * level)).findings.table
    assert {row.change for row in found} == {"stable"}


def test_what_cannot_be_compared_is_refused(dates: Dates) -> None:
    now = replace(dates.followed, prior=None)
    with pytest.raises(OptionsError, match="the same scan twice"):
        follow_up(now, now)
    other = replace(dates.earlier, detector={**dates.earlier.detector, "name": "histogram"})
    with pytest.raises(OptionsError, match="another detector"):
        follow_up(now, other)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"program": "BrainAnomaly 0.0.9"}, "was made by BrainAnomaly 0.0.9"),
        ({"files": []}, "does not say how its scan looked"),
        ({"scan": None}, "holds no whole result"),
    ],
)
def test_results_that_cannot_be_read_are_refused(dates: Dates, tmp_path: Path, change: dict, words: str) -> None:
    other = tmp_path / "other"
    shutil.copytree(dates.result, other)
    content = json.loads((other / SUMMARY).read_text(encoding="utf-8"))
    (other / SUMMARY).write_text(json.dumps({**content, **change}), encoding="utf-8")
    with pytest.raises(OutputError, match=words):
        read_prior(other)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prior": ("a.nii.gz", "b.nii.gz")}, "has 2 scans, this one 1"),
        ({"prior": ("nowhere.nii.gz",)}, "There is no file or folder"),
        ({"further": ("b.nii.gz",)}, "program's choice"),
        ({"further": ("b.nii.gz",), "further_contrasts": ("T1w", "T2w"), "detector": None}, "not as many contrasts"),
    ],
)
def test_wrong_jobs_write_nothing(dates: Dates, tmp_path: Path, changes: dict, words: str) -> None:
    values = {
        name: tuple(map(Path, value)) if name in ("prior", "further") else value for name, value in changes.items()
    }
    job = replace(DetectionJob(dates.now, tmp_path / "out", "tissue", contrast="FLAIR"), **values)
    with pytest.raises(BrainAnomalyError, match=words):
        run_job(job)
    assert not (tmp_path / "out").exists()


def test_another_head_is_refused_and_the_same_is_not() -> None:
    template = load_template("template_2mm")
    random = np.random.default_rng(0)
    bend = [ndimage.gaussian_filter(random.standard_normal(template.brain.shape), 4.0) for _ in range(3)]
    places = np.indices(template.brain.shape) + 3.0 * np.stack([part / part.std() for part in bend])
    other = ndimage.map_coordinates(template.brain, places, order=1).astype(np.float32)
    first = BrainImage(template.brain, template.brain_mask, template.grid)
    noisy = template.brain + 0.03 * random.standard_normal(template.brain.shape)
    same = BrainImage(noisy.astype(np.float32), template.brain_mask, template.grid)
    different = BrainImage(other, template.brain_mask, template.grid)
    assert surplus(first, same, np.eye(4)) > 2.0 * LEAST_SURPLUS
    assert surplus(first, different, np.eye(4)) < LEAST_SURPLUS
    with pytest.raises(PreparationError, match="'b' does not fit 'a'"):
        require_same_head(surplus(first, different, np.eye(4)), "a", "b")


def test_dicom_dates_the_wrong_way_round_are_refused(tmp_path: Path) -> None:
    folders = []
    for date in ("20240501", "20220501"):
        folder = tmp_path / date
        write_series(folder, noise((6, 6, 6)), grid_of((6, 6, 6)), StudyDate=date)
        folders.append(folder)
    require_order(*folders)
    with pytest.raises(OptionsError, match="2024-05-01, after that of 2022-05-01"):
        require_order(*reversed(folders))


def test_the_subtraction_is_brighter_where_the_lesion_came_and_the_way_to_the_earlier_scan_is_kept(
    dates: Dates,
) -> None:
    prior = dates.followed.prior
    assert prior is not None
    inside = dates.followed.findings.labels == lesion(dates.summary)["id"]
    assert prior.difference[inside].mean() > 0.2
    assert abs(np.median(prior.difference[dates.followed.brain_mask])) < 0.05
    # Both scans lie where the head is: only masks and noise move one against the other.
    points = NOW.to_world(np.argwhere(dates.followed.brain_mask)[::500])
    assert np.linalg.norm(apply_affine(prior.before_from_now, points) - points, axis=1).max() < 2.0


def test_examinations_of_other_contrasts_are_not_compared(dates: Dates) -> None:
    now = replace(dates.followed, prior=None)
    other = replace(dates.earlier, detector={**now.detector, "contrasts": [{"contrast": "FLAIR"}, {"contrast": "T1w"}]})
    with pytest.raises(OptionsError, match="another choice of contrasts"):
        follow_up(now, other)
