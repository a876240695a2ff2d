"""The training loop: phases, checkpoints, exact resume, early stop, memory, divergence, several processes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from BrainAnomalyLib.detectors.families.self_supervised.denoising import DenoisingConfig, DenoisingDetector
from BrainAnomalyLib.detectors.learning import OptimizerSettings, Phase, Preset
from BrainAnomalyLib.errors import BrainAnomalyError, Cancelled, OutputError, PackageError
from BrainAnomalyTrainingLib.run.run_folder import Paused, RunFolder, ask, read_events
from BrainAnomalyTrainingLib.train.checkpoints import CHECKPOINT, read_checkpoint, write_checkpoint
from BrainAnomalyTrainingLib.train.trainer import BEST, Trainer
from BrainAnomalyTrainingLib.train.training_options import TrainingOptions, accelerator_for, learning_rate
from engine_process import training_variables

SHAPE = (16, 16, 16)
CONFIG = DenoisingConfig(channels=(4, 8), strides=(2,), residual_units=1, crop=SHAPE, passes=2)
PRESET = Preset(CONFIG, steps=12, batch=4, average_decay=0.9)


class Ball:
    """A healthy scan: a ball with a gentle pattern of its own."""

    def __init__(self, number: int) -> None:
        axes = np.meshgrid(*[np.linspace(-1, 1, size) for size in SHAPE], indexing="ij")
        self._mask = np.asarray(sum(axis**2 for axis in axes) < 0.8)
        pattern = 0.8 + 0.2 * np.sin(3 * axes[0] + number) * np.cos(2 * axes[1])
        self._image = np.where(self._mask, pattern, 0.0).astype(np.float32)

    def image(self) -> np.ndarray:
        return self._image

    def mask(self) -> np.ndarray:
        return self._mask


BALLS = [Ball(number) for number in range(4)]


class TwoPhases(DenoisingDetector):
    """Trains the first convolution in the first half and the rest of the network in the second."""

    @classmethod
    def phases(cls, config: DenoisingConfig) -> tuple[Phase, ...]:
        settings = OptimizerSettings(1e-2)
        return Phase("first", settings, ("model.0",), ends=0.5), Phase("rest", settings, ("model.2",), starts=0.5)


class Hungry(DenoisingDetector):
    """Asks for more memory than any computer has when it is shown more than ``most`` images at once."""

    most = 1

    @classmethod
    def training_step(cls, network, config, phase, batch):
        if len(batch.images) > cls.most:
            torch.empty(2**50)
        return super().training_step(network, config, phase, batch)


class Diverging(DenoisingDetector):
    """Its loss has no finite gradient."""

    @classmethod
    def training_step(cls, network, config, phase, batch):
        losses = super().training_step(network, config, phase, batch)
        return {"loss": losses["loss"] * float("nan")}


def trainer(folder: Path, family=DenoisingDetector, preset: Preset = PRESET, **options) -> Trainer:
    chosen = TrainingOptions(steps=preset.steps, batch=preset.batch, device="cpu", **options)
    return Trainer(family, preset, chosen, RunFolder(folder))


def fit(one: Trainer) -> Trainer:
    one.fit(BALLS[:3], BALLS[3:])
    return one


def events(folder: Path, name: str) -> list[dict]:
    return [event for event in read_events(folder / "events.jsonl")[0] if event["event"] == name]


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_training_lowers_the_loss_and_tells_the_run(tmp_path):
    fit(trainer(tmp_path, preset=replace(PRESET, steps=60)))
    losses = events(tmp_path, "loss")
    assert losses[-1]["step"] == 60
    assert np.mean([event["loss"] for event in losses[-10:]]) < 0.7 * losses[0]["loss"]
    errors = [event["validation"] for event in losses if event["validation"] is not None]
    assert len(errors) == 20
    assert errors[-1] < errors[0]
    progress = events(tmp_path, "progress")
    assert progress[-1]["fraction"] == 1.0
    assert progress[-1]["seconds_left"] == 0.0


def test_a_paused_training_ends_bit_for_bit_where_a_whole_one_does(tmp_path):
    whole = fit(trainer(tmp_path / "whole"))
    pausing = trainer(tmp_path / "broken")
    pausing._report = lambda parts, shown: ask(tmp_path / "broken", "pause" if pausing.step == 5 else "")
    with pytest.raises(Paused, match="step 5"):
        fit(pausing)
    (tmp_path / "broken" / "control").unlink()
    resumed = trainer(tmp_path / "broken", seed=7)
    fit(resumed)
    assert resumed.step == 12
    assert same(resumed.network, whole.network)
    assert same(resumed.average, whole.average)


def test_a_run_that_dies_between_checkpoints_repeats_what_was_lost(tmp_path):
    whole = fit(trainer(tmp_path / "whole"))
    dying = trainer(tmp_path / "broken", checkpoint_every=4)
    advance = dying._advance

    def die_at_seven(scans):
        if dying.step == 7:
            raise KeyboardInterrupt
        return advance(scans)

    dying._advance = die_at_seven
    with pytest.raises(KeyboardInterrupt):
        fit(dying)
    resumed = trainer(tmp_path / "broken")
    resumed.resume()
    assert resumed.step == 4
    assert same(fit(resumed).network, whole.network)


def test_minutes_count_over_all_sessions(tmp_path):
    first = trainer(tmp_path, minutes=5.0)
    first.step, first.seconds = 3, 301.0
    first.save()
    second = fit(trainer(tmp_path, minutes=5.0))
    assert second.step == 3
    assert fit(trainer(tmp_path, minutes=6.0)).step == 12


def test_a_run_that_dies_after_its_last_step_still_knows_its_losses(tmp_path):
    first = fit(trainer(tmp_path))
    assert first.last_losses
    second = fit(trainer(tmp_path))
    assert second.last_losses == first.last_losses


def test_the_scale_of_16_bit_gradients_survives_a_pause(tmp_path):
    first, second = trainer(tmp_path), trainer(tmp_path)
    first.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=512.0)
    first.save()
    second.accelerator.scaler = torch.amp.GradScaler("cpu")
    second.resume()
    assert second.accelerator.scaler.get_scale() == 512.0


def test_another_seed_gives_another_network(tmp_path):
    first, second = (fit(trainer(tmp_path / str(seed), seed=seed)) for seed in (1, 2))
    assert not same(first.network, second.network)


def test_cancel_is_obeyed_within_a_step(tmp_path):
    one = trainer(tmp_path)
    ask(tmp_path, "cancel")
    with pytest.raises(Cancelled):
        fit(one)
    assert one.step == 1


def test_phases_train_their_own_modules_in_their_own_time(tmp_path):
    one = trainer(tmp_path, TwoPhases)
    before = {name: value.clone() for name, value in one.network.state_dict().items()}
    changed: dict[int, set[str]] = {}
    report = one._report

    def watch(parts, shown):
        report(parts, shown)
        state = one.network.state_dict()
        changed[one.step] = {name.split(".")[1] for name in state if not torch.equal(state[name], before[name])}

    one._report = watch
    fit(one)
    assert changed[6] == {"0"}
    assert changed[12] == {"0", "2"}


def test_what_does_not_fit_into_memory_is_learned_in_pieces_with_the_same_gradient(tmp_path):
    whole = fit(trainer(tmp_path / "whole"))
    hungry = fit(trainer(tmp_path / "hungry", Hungry))
    assert hungry.piece == 1
    assert ["pieces of 2" in event["message"] for event in events(tmp_path / "hungry", "warning")] == [True, False]
    assert hungry.step == whole.step


def test_too_little_memory_for_a_single_image_is_said_in_plain_words(tmp_path):
    class Insatiable(Hungry):
        most = 0

    with pytest.raises(BrainAnomalyError, match="memory ran out in training"):
        fit(trainer(tmp_path, Insatiable))


def test_pieces_add_up_to_the_whole_batch(tmp_path):
    """Without chance in the loss, the sum over pieces is the gradient of the batch."""

    class Plain(DenoisingDetector):
        @classmethod
        def training_step(cls, network, config, phase, batch):
            return {"loss": ((network(batch.images) - batch.images) ** 2).mean()}

    preset = replace(PRESET, steps=1, augments=False)
    whole, pieces = (trainer(tmp_path / name, Plain, preset) for name in ("whole", "pieces"))
    pieces.piece = 1
    for one in (whole, pieces):
        fit(one)
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(pieces.network.state_dict()[name], value, rtol=1e-4, atol=2e-5)


def test_a_diverging_training_ends_with_a_sentence_and_changes_nothing(tmp_path):
    one = trainer(tmp_path, Diverging, replace(PRESET, steps=100))
    before = {name: value.clone() for name, value in one.network.state_dict().items()}
    with pytest.raises(BrainAnomalyError, match="diverged"):
        fit(one)
    assert all(torch.equal(value, before[name]) for name, value in one.network.state_dict().items())


def test_early_stop_keeps_the_best_network(tmp_path):
    class Worsening(DenoisingDetector):
        """Every restoration is worse than the one before."""

        calls = 0

        @classmethod
        def restore(cls, network, config, images, masks, generator):
            cls.calls += 1
            restored = super().restore(network, config, images, masks, generator)
            return replace(restored, pseudo_healthy=images + 0.1 * cls.calls)

    one = fit(trainer(tmp_path, Worsening, replace(PRESET, steps=100), validate_every=2, patience=3))
    assert one.step == 8
    assert one.best == pytest.approx(0.1, abs=1e-3)
    best, counters = read_checkpoint(tmp_path / BEST)
    assert counters == {"step": "2"}
    assert all(torch.equal(value, best[name]) for name, value in one.average.state_dict().items())


def test_the_exported_weights_are_the_running_average(tmp_path):
    one = fit(trainer(tmp_path, preset=replace(PRESET, average_decay=None)))
    assert same(one.average, one.network)
    assert not same(*(lambda averaged: (averaged.average, averaged.network))(fit(trainer(tmp_path / "averaged"))))


def test_precision_is_the_devices_own_unless_chosen():
    assert accelerator_for("cpu", "auto").mixed_precision == "no"
    assert accelerator_for("cpu", "bf16").mixed_precision == "bf16"


def test_mixed_precision_trains(tmp_path):
    one = fit(trainer(tmp_path, preset=replace(PRESET, steps=30), precision="bf16"))
    losses = [event["loss"] for event in events(tmp_path, "loss")]
    assert all(np.isfinite(losses))
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert next(one.network.parameters()).dtype == torch.float32


def test_the_rate_warms_up_and_falls_to_zero_over_its_phase():
    phase = Phase("late", OptimizerSettings(1.0, schedule="cosine", warmup=10), starts=0.5)
    assert learning_rate(phase, 50, 100) == pytest.approx(0.1)
    assert learning_rate(phase, 75, 100) == pytest.approx(0.5)
    assert learning_rate(phase, 99, 100) < 0.002
    assert learning_rate(Phase("flat", OptimizerSettings(0.3)), 99, 100) == 0.3


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path):
    code = """
import resource, sys, torch
from pathlib import Path
from BrainAnomalyTrainingLib.train.checkpoints import write_checkpoint
from BrainAnomalyLib.errors import OutputError
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
file = Path(sys.argv[1])
write_checkpoint(file, {"a": torch.ones(4)}, {"step": "1"})
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_checkpoint(file, {"a": torch.zeros(100_000)}, {"step": "2"})
except OutputError as error:
    print(error.sentence())
"""
    file = tmp_path / CHECKPOINT
    command = [sys.executable, "-c", code, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, env=training_variables(), check=True)
    assert "Free disk space" in done.stdout
    tensors, counters = read_checkpoint(file)
    assert counters == {"step": "1"}
    assert torch.equal(tensors["a"], torch.ones(4))
    assert list(tmp_path.iterdir()) == [file]


def test_a_damaged_checkpoint_is_refused_in_plain_words(tmp_path):
    write_checkpoint(tmp_path / CHECKPOINT, {"a": torch.ones(4)}, {})
    data = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(data[: len(data) // 2])
    with pytest.raises(PackageError, match="cannot be read"):
        fit(trainer(tmp_path))


def test_nowhere_to_write_is_said(tmp_path):
    with pytest.raises(OutputError):
        write_checkpoint(tmp_path / "missing" / CHECKPOINT, {"a": torch.ones(1)}, {})


TWO_PROCESSES = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_trainer as case
one = case.fit(case.trainer(Path(sys.argv[1]), seed=3))
case.write_checkpoint(Path(sys.argv[1]) / f"end{one.accelerator.process_index}", dict(one.network.state_dict()), {})
"""


def test_two_processes_learn_one_network(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(TWO_PROCESSES, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["--log-dir", str(tmp_path / "logs")]
    command += [str(script), str(tmp_path / "run")]
    done = subprocess.run(
        [*command, str(Path(__file__).parent)], capture_output=True, text=True, env=training_variables(), check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (read_checkpoint(tmp_path / "run" / f"end{index}")[0] for index in (0, 1))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    alone = fit(trainer(tmp_path / "alone", seed=3))
    assert not all(torch.allclose(value, first[name]) for name, value in alone.network.state_dict().items())
    steps = [event["step"] for event in events(tmp_path / "run", "loss")]
    assert steps == list(range(1, 13))
