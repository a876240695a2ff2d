"""Training states on disk: tensors as safetensors, written aside and moved into place, so that a kill costs nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from BrainAnomalyLib.errors import OutputError, PackageError

CHECKPOINT = "checkpoint.safetensors"


def write_checkpoint(file: Path, tensors: dict[str, Tensor], counters: dict[str, str]) -> None:
    """Replace ``file`` by these tensors and text entries. Raises OutputError; the old file then stays as it was."""
    unfinished = file.with_name(f"{file.name}.partial")
    copies = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    try:
        save_file(copies, unfinished, metadata=counters)
        unfinished.replace(file)
    except (OSError, SafetensorError) as error:
        unfinished.unlink(missing_ok=True)
        raise OutputError(
            f"The training's state could not be written to '{file.parent}': {error}.",
            "Free disk space and start the same command again; it goes on from the last state.",
        ) from error


def read_checkpoint(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and text entries of a checkpoint. Raises PackageError for a damaged one."""
    try:
        with safe_open(file, "pt") as opened:
            counters = dict(opened.metadata() or {})
        return load_file(file), counters
    except (OSError, SafetensorError) as error:
        raise PackageError(
            f"The training's state in '{file.parent}' cannot be read.",
            "Remove the run folder to start from the beginning.",
        ) from error


def below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries named ``prefix.*``, without the prefix."""
    return {name[len(prefix) + 1 :]: value for name, value in tensors.items() if name.startswith(f"{prefix}.")}


def named(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The entries with ``prefix.`` before their names."""
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimizer's running statistics by ``parameter number.entry``."""
    state: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value) for index, entries in state.items() for name, value in entries.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Give an optimizer back what ``optimizer_tensors`` took from it."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, entry = name.split(".", 1)
        state.setdefault(int(index), {})[entry] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
