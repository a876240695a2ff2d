"""The embedded denoising autoencoder and what trained it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from BrainAnomalyLib.detection import detect
from BrainAnomalyLib.detectors.denoising import DenoisingConfig, DenoisingDetector, build_network
from BrainAnomalyLib.detectors.registry import load_detector
from BrainAnomalyLib.packages import read_package
from BrainAnomalyLib.preparation.pipeline import prepare
from BrainAnomalyLib.resources import resources_folder
from BrainAnomalyLib.volumes import read_scan
from BrainAnomalyTrainingLib.augmentation import augment
from BrainAnomalyTrainingLib.calibration import HealthyResidual, calibrate, healthy_rms, leave_one_out_maps
from BrainAnomalyTrainingLib.cohort import shared_t1w_cohort, split_subjects
from BrainAnomalyTrainingLib.corruption import blob_noise, coarse_noise, corrupt
from BrainAnomalyTrainingLib.denoising_training import DenoisingTrainer, TrainingOptions, batches, masked_loss
from BrainAnomalyTrainingLib.inserted_lesions import insert_lesion, lesion_shapes
from shared_data import FOLDER, needs

SMALL = DenoisingConfig(channels=(4, 8, 16), strides=(2, 2), residual_units=1, crop=(32, 32, 32))


def _ball(size: int = 32) -> torch.Tensor:
    axes = torch.meshgrid(*[torch.linspace(-1, 1, size)] * 3, indexing="ij")
    return (sum(axis**2 for axis in axes) < 0.8).float()[None, None]


def test_the_embedded_package_is_whole_and_small():
    folder = resources_folder() / "Models" / "denoising_t1w"
    package = read_package(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size < 10 * 1024**2
    assert package.metadata["cohort"]["scans"] > 100
    assert package.metadata["calibration"]["scans"] >= 19
    card = (folder / "docs" / "README.md").read_text(encoding="utf-8")
    for part in ("For research, not for diagnosis", "IXI", "ds002748", "CC BY-SA"):
        assert part in card


def test_network_has_the_stated_size():
    count = sum(parameter.numel() for parameter in build_network(DenoisingConfig()).parameters())
    assert count == 1_185_818


@needs("ds002748_t1_brain_2mm")
def test_an_inserted_lesion_raises_the_score_and_is_painted_over():
    scan = next(s for s in split_subjects(shared_t1w_cohort(FOLDER)).test if s.scanner == "ds002748")
    detector = load_detector("denoising", device="cpu")
    prepared = prepare(read_scan(scan.path, "T1w"), detector.recipe)
    shape = next(s for s in lesion_shapes(FOLDER / "lesion_shapes_mni_1mm") if s.stat().st_size > 9000)
    case = insert_lesion(prepared, shape, -0.3)
    assert case.volume_ml > 1.0
    healthy, ill = (detector.reconstruct(p) for p in (prepared, case.prepared))
    before, after = (detector.score(p, r).anomaly for p, r in ((prepared, healthy), (case.prepared, ill)))
    assert after[case.lesion].mean() > 2.0 * before[case.lesion].mean()
    error_of_scan = np.abs(case.prepared.image - prepared.image)[case.lesion].mean()
    error_of_healthy = np.abs(ill.pseudo_healthy - prepared.image)[case.lesion].mean()
    assert error_of_healthy < error_of_scan
    inside = prepared.brain_mask
    assert np.sqrt(np.mean((healthy.pseudo_healthy - prepared.image)[inside] ** 2)) < 0.1
    assert healthy.uncertainty is not None
    assert healthy.uncertainty[inside].max() > 0.0


@needs("ds002748_t1_brain_2mm")
def test_a_healthy_held_out_scan_stays_nearly_empty():
    scan = next(s for s in split_subjects(shared_t1w_cohort(FOLDER)).test if s.scanner == "ds002748")
    detection = detect(read_scan(scan.path, "T1w"), load_detector("denoising", device="cpu"))
    assert detection.findings.total_ml < 10.0
    assert detection.contrast.contrast == "T1w"
    assert detection.pseudo_healthy is not None
    assert detection.residual is not None


def test_coarse_noise_is_coarse_and_stays_inside():
    image = _ball()
    noise = coarse_noise(image, torch.Generator().manual_seed(1), (0.2, 0.2))
    assert (noise[image == 0] == 0).all()
    pair = torch.stack([noise[0, 0, first : first + 10, 10:20, 10:20].flatten() for first in (10, 11)])
    assert torch.corrcoef(pair)[0, 1] > 0.9
    assert 0.03 < float(noise[image > 0].std()) < 0.3


def test_corruption_differs_between_images_of_a_batch_and_repeats_with_its_seed():
    pair = _ball().repeat(2, 1, 1, 1, 1)
    first, again = (corrupt(pair, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first[0], first[1])


def test_blob_noise_touches_a_small_part():
    image = _ball()
    noise = blob_noise(image, torch.Generator().manual_seed(2))
    assert 0.0 < float((noise.abs() > 0.05).float().mean()) < 0.3


def test_augmentation_keeps_white_matter_near_one_and_background_empty():
    image = _ball()
    for seed in range(20):
        changed, mask = augment(image, image, torch.Generator().manual_seed(seed))
        assert (changed[mask == 0] == 0).all()
        assert 0.5 < float(changed[mask > 0].median()) < 1.6


def test_loss_counts_the_brain_only():
    clean = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 1, 2)
    assert float(masked_loss(torch.tensor([0.5, 9.0]).reshape(1, 1, 1, 1, 2), clean)) == pytest.approx(2.5)


def _trained(folder, steps: int, pieces: tuple[int, ...]) -> DenoisingTrainer:
    scans = [(0.8 * _ball()[0, 0].numpy(), _ball()[0, 0].numpy() > 0)]
    for end in pieces:
        options = TrainingOptions(steps=steps, checkpoint_every=5, mixed_precision=False)
        trainer = DenoisingTrainer(folder, SMALL, options)
        trainer.resume()
        stream = batches(scans, SMALL, options, trainer.step)
        while trainer.step < end:
            trainer._train_on(*next(stream))
        trainer.save()
    return trainer


def test_training_learns_and_an_interrupted_run_ends_where_a_whole_one_does(tmp_path):
    whole = _trained(tmp_path / "whole", 12, (12,))
    broken = _trained(tmp_path / "broken", 12, (5, 12))
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(broken.network.state_dict()[name], value, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(broken.average[name], whole.average[name], rtol=1e-4, atol=1e-5)


def _healthy(count: int) -> list[HealthyResidual]:
    random = np.random.default_rng(0)
    mask = _ball()[0, 0].numpy() > 0
    return [HealthyResidual(np.abs(random.normal(0, 0.1, mask.shape)).astype(np.float32), mask) for _ in range(count)]


def test_calibration_keeps_its_promises_on_its_own_cohort():
    residuals = _healthy(6)
    assert healthy_rms(residuals)[16, 16, 16] == pytest.approx(0.1, rel=0.1)
    maps = leave_one_out_maps(residuals, 0.01)
    masks = [residual.brain_mask for residual in residuals]
    calibration = calibrate(maps, masks, 8.0)
    thresholds = [calibration.quantiles[rate] for rate in sorted(calibration.quantiles)]
    assert thresholds == sorted(thresholds, reverse=True)
    pooled = np.concatenate([anomaly[mask] for anomaly, mask in zip(maps, masks, strict=True)])
    assert (pooled > calibration.quantiles[0.01]).mean() == pytest.approx(0.01, abs=0.002)


@needs("ixi_t1_2mm")
def test_the_split_is_by_subject_and_covers_everyone():
    cohort = shared_t1w_cohort(FOLDER)
    split = split_subjects(cohort)
    parts = [{scan.subject for scan in part} for part in (split.training, split.calibration, split.test)]
    assert len(set.union(*parts)) == sum(map(len, parts)) == len(cohort) == 172
    assert all(len({s.scanner for s in part}) == 2 for part in (split.training, split.calibration, split.test))


def test_detector_class_refuses_an_absent_device():
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    from BrainAnomalyLib.errors import OptionsError

    with pytest.raises(OptionsError, match="cuda"):
        DenoisingDetector.from_package(read_package(resources_folder() / "Models" / "denoising_t1w"), "cuda")
