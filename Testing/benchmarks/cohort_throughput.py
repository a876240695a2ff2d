"""What workers gain on real scans: a cohort through two workers, through one, and a loop of ``detect``, in one run.

    python Testing/benchmarks/cohort_throughput.py [SCAN ...] [--scans 200] [--detector NAME]

The scans are copies of those given (default: Resources/Example), each with its intensities scaled a little, so that no
two are equal. Prints the throughput of each way and their ratios, and how the memory of the scheduler's process grows.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "BrainAnomaly"))

import psutil

from BrainAnomalyLib.cohort.compute import Compute
from BrainAnomalyLib.cohort.entries import Entry, with_keys
from BrainAnomalyLib.cohort.records import CohortOptions, Record
from BrainAnomalyLib.cohort.scheduling import Listener, run_cohort
from BrainAnomalyLib.io.scan_names import contrast_of_words
from BrainAnomalyLib.io.volumes import read_scan, stem, write_volume


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", nargs="*", type=Path, default=sorted((ROOT / "Resources/Example").glob("*.nii.gz")))
    parser.add_argument("--scans", type=int, default=200)
    parser.add_argument("--detector", help="default: the one that suits each contrast")
    options = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        _report(Path(folder), options)


def _report(folder: Path, options: argparse.Namespace) -> None:
    entries = _copies(folder / "scans", options.scan, options.scans)
    ways = {
        "loop of detect": lambda: _loop(entries, folder / "loop", options.detector),
        "1 worker": lambda: _cohort(entries, folder / "one", options.detector, 1),
        "2 workers": lambda: _cohort(entries, folder / "two", options.detector, 2),
    }
    print("| way | scans | seconds | scans/h | scheduler MB, first and last |\n|---|---|---|---|---|")
    seconds = {}
    for name, way in ways.items():
        began = time.perf_counter()
        memory = way()
        seconds[name] = time.perf_counter() - began
        rate = 3600.0 * len(entries) / seconds[name]
        print(f"| {name} | {len(entries)} | {seconds[name]:.0f} | {rate:.0f} | {memory} |", flush=True)
    two = seconds["2 workers"]
    print(f"\n2 workers: {seconds['1 worker'] / two:.2f} x 1 worker, {seconds['loop of detect'] / two:.2f} x the loop")


def _copies(folder: Path, scans: list[Path], count: int) -> list[Entry]:
    folder.mkdir()
    made = []
    for index in range(count):
        path = scans[index % len(scans)]
        scan = read_scan(path)
        target = folder / f"s{index:04d}_{stem(path)}.nii.gz"
        write_volume(target, scan.array * (1.0 + 0.001 * index), scan.grid)
        made.append(Entry(target, f"s{index:04d}", "", contrast_of_words(stem(path))))
    return with_keys(made)


def _loop(entries: list[Entry], out: Path, detector: str | None) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "BrainAnomaly")}
    for entry in entries:
        command = [sys.executable, "-m", "BrainAnomalyLib", "detect", entry.scan, "--out", out / entry.key, "--quiet"]
        command += ["--contrast", entry.contrast] if entry.contrast != "unknown" else []
        command += ["--detector", detector] if detector else []
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return ""


def _cohort(entries: list[Entry], out: Path, detector: str | None, workers: int) -> str:
    memory = _Memory()
    records = run_cohort(entries, out, CohortOptions(detector=detector), Compute(workers), memory)
    failed = [record["reason"] for record in records if record["status"] == "failed"]
    if failed:
        raise SystemExit(f"{len(failed)} scans failed: {failed[0]}")
    return f"{memory.held[0]:.0f}, {memory.held[-1]:.0f}"


class _Memory(Listener):
    """What this process, which is the scheduler, holds when each scan ends, in MB."""

    def __init__(self) -> None:
        self.held: list[float] = []

    def finished(self, record: Record) -> None:
        self.held.append(psutil.Process().memory_info().rss / 2**20)


if __name__ == "__main__":
    main()
