"""A graphics card that fails: the run goes on on the processor where nobody asked for the card, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from BrainAnomalyLib.detectors.registry import load_detector
from BrainAnomalyLib.devices import device_failed
from BrainAnomalyLib.errors import BrainAnomalyError
from BrainAnomalyLib.service.jobs import DetectionJob, in_plain_words, run_job

EXAMPLE = Path(__file__).resolve().parents[2] / "Resources" / "Example" / "FLAIR.nii.gz"
MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nSee documentation")
KERNEL = RuntimeError("CUDA error: no kernel image is available for execution on the device")
MISSING = NotImplementedError("The operator 'aten::_conv3d' is not currently implemented for the MPS device.")


class Loaded:
    """Loads the real detector; one that is not on the processor fails when it is to reconstruct."""

    def __init__(self, failure: Exception) -> None:
        self.failure, self.devices = failure, []

    def __call__(self, name, package, device):
        self.devices.append(device)
        detector = load_detector(name, package, "cpu")
        if device != "cpu":
            detector.reconstruct = self.fail
        return detector

    def fail(self, *_):
        raise self.failure


def job(out: Path, device: str) -> DetectionJob:
    return DetectionJob(EXAMPLE, out, "histogram", contrast="FLAIR", device=device, pictures=False)


def test_a_card_chosen_by_the_program_gives_way_to_the_processor(tmp_path):
    load = Loaded(MEMORY)
    outcome = run_job(job(tmp_path / "out", "auto"), load=load)
    assert load.devices == ["auto", "cpu"]
    said = [warning for warning in outcome.summary["warnings"] if "graphics card" in warning]
    assert len(said) == 1
    assert "computed on the processor" in said[0]
    assert "(CUDA out of memory. Tried to allocate 20.00 MiB)" in said[0]
    assert "See documentation" not in said[0]


def test_a_card_that_was_asked_for_ends_the_run(tmp_path):
    load = Loaded(MEMORY)
    with pytest.raises(torch.OutOfMemoryError):
        run_job(job(tmp_path / "out", "cuda"), load=load)
    assert load.devices == ["cuda"]
    assert not (tmp_path / "out").exists()
    plain = in_plain_words(MEMORY)
    assert type(plain) is BrainAnomalyError
    assert "The graphics card failed (CUDA out of memory" in plain.sentence()


@pytest.mark.parametrize("failure", [MEMORY, KERNEL, MISSING])
def test_failures_of_cards_are_known(failure):
    assert device_failed(failure)


def test_other_failures_are_not_the_cards():
    assert not device_failed(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not device_failed(ValueError("CUDA"))
    assert not device_failed(MemoryError())
