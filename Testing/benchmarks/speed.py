"""How long a detection takes from a file to written results, and where the time goes.

    python Testing/benchmarks/speed.py SCAN [--runs 5] [--device cpu]

Cold: a process of its own each time, as the command line is. Warm: the same process again, as the panel's worker. The
medians of the runs are seconds of this machine; for comparing machines they are also given in units of a fixed piece of
work (products of two matrices and a sort, one thread), measured in the same run.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "BrainAnomaly")]

from BrainAnomalyLib.service.memory import keep_freed_memory


def fixed_work() -> float:
    """Seconds of the piece of work that machines are compared by."""
    values = np.random.default_rng(0).random((1000, 1000))
    started = time.perf_counter()
    for _ in range(5):
        values = np.sort(values @ values / 1000.0, axis=0)
    return time.perf_counter() - started


def steps(scan_file: Path, folder: Path, device: str) -> dict[str, float]:
    """Seconds of every step of one detection, by name."""
    from BrainAnomalyLib.detection import detect
    from BrainAnomalyLib.detectors.registry import load_detector
    from BrainAnomalyLib.io.volumes import read_scan
    from BrainAnomalyLib.output.folder import write_results

    marks = [("Reading the scan", time.perf_counter())]
    scan = read_scan(scan_file)
    found = detect(
        scan,
        progress=lambda step, _: marks.append((step, time.perf_counter())),
        load=partial(load_detector, device=device),
    )
    marks.append(("Writing the results", time.perf_counter()))
    write_results(found, folder)
    marks.append(("", time.perf_counter()))
    seconds: dict[str, float] = {}
    for (name, began), (_, ended) in pairwise(marks):
        seconds[name] = seconds.get(name, 0.0) + ended - began
    return seconds


def once(scan_file: Path, device: str) -> dict[str, float]:
    """``steps`` into a folder that is removed again."""
    with tempfile.TemporaryDirectory() as folder:
        return steps(scan_file, Path(folder) / "out", device)


def cold(scan_file: Path) -> float:
    """Seconds of the command line."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "BrainAnomalyLib",
            "detect",
            str(scan_file),
            "--out",
            f"{folder}/out",
            "--quiet",
        ]
        started = time.perf_counter()
        subprocess.run(command, check=True, cwd=ROOT / "BrainAnomaly", stdout=subprocess.DEVNULL)
        return time.perf_counter() - started


def main() -> None:
    """Print the medians and a table of the steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    keep_freed_memory()
    scan = options.scan.resolve()
    unit = statistics.median(fixed_work() for _ in range(5))
    colds = [cold(scan) for _ in range(options.runs)]
    warms = [once(scan, options.device) for _ in range(options.runs + 1)][1:]
    totals = [sum(run.values()) for run in warms]
    memory = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 2**20
    print(f"{scan.name}, medians of {options.runs}; fixed work {unit:.2f} s; peak memory {memory:.2f} GB")
    for name, runs in (("cold command line", colds), ("warm process", totals)):
        middle = statistics.median(runs)
        print(f"{name}: {middle:.1f} s ({min(runs):.1f} to {max(runs):.1f}), {middle / unit:.0f} times the fixed work")
    print("\n| step, warm | s |\n|---|---|")
    for name in warms[0]:
        print(f"| {name} | {statistics.median(run[name] for run in warms):.2f} |")


if __name__ == "__main__":
    main()
