"""Two branches of a detection share the processors, or take turns where one processor is allowed."""

from __future__ import annotations

import threading

import pytest
import torch

from BrainAnomalyLib.devices import side_branch


def _fail() -> None:
    raise ValueError("no brain")


@pytest.mark.parametrize(("allowed", "beside"), [("1", False), ("2", True)])
def test_work_runs_beside_where_there_is_a_processor_for_it(
    monkeypatch: pytest.MonkeyPatch, allowed: str, beside: bool
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", allowed)
    with side_branch() as branch:
        ran_on = branch.submit(threading.get_ident)
        failed = branch.submit(_fail)
        assert (ran_on.result() != threading.get_ident()) is beside
        with pytest.raises(ValueError, match="no brain"):
            failed.result()


def test_the_threads_of_torch_are_divided_for_as_long_as_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        with side_branch():
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
