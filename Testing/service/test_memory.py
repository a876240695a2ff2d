"""A process that detects uses the memory of freed volumes again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from engine_process import variables

# A 1 mm volume of single precision, as often as a detection makes one.
_PROGRAM = """
import resource, sys
import numpy as np
from BrainAnomalyLib.service.memory import keep_freed_memory

kept = keep_freed_memory() if sys.argv[1] == "kept" else None
volume = np.ones((193, 229, 193), dtype=np.float32)
del volume
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    volume = np.ones((193, 229, 193), dtype=np.float32)
    del volume
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(how: str) -> tuple[str, int]:
    environment = {**variables(), "MALLOC_TRIM_THRESHOLD_": "65536"}
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM, how], env=environment, check=True, capture_output=True, text=True
    )
    kept, faults = ended.stdout.split()
    return kept, int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="Only glibc has these settings.")
def test_freed_volumes_are_used_again_where_dask_gives_them_back() -> None:
    kept, faults = _faults("kept")
    assert kept == "True"
    assert 10 * faults < _faults("given back")[1]
