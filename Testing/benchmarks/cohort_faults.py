"""What a cohort survives: workers and scheduler killed, a full disk, inputs deleted meanwhile, a tenth of them corrupt.

    python Testing/benchmarks/cohort_faults.py [--scans 200] [--kills 20] [--seed 0] [--small-disk FOLDER]

The detection is a stand-in; reading, writing, records, scheduler and worker processes are real. Each disturbed run is
followed by a rerun and compared, byte by byte, with an undisturbed one. ``--small-disk`` is a folder on a file system
that may be filled (``mount -t tmpfs -o size=8m none FOLDER``); without it no file may grow beyond 8 kB.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = [str(ROOT / name) for name in ("BrainAnomaly", "Testing", "Testing/helpers")]
sys.path[:0] = FOLDERS

from BrainAnomalyLib.cohort.compute import Compute
from BrainAnomalyLib.cohort.entries import Entry, with_keys
from BrainAnomalyLib.cohort.records import CohortOptions, Record, read_records
from BrainAnomalyLib.cohort.scheduling import Listener, run_cohort
from BrainAnomalyLib.errors import BrainAnomalyError
from light_detection import Killer, light, light_and_slow, light_on_a_full_disk, write_light_scan

WORKERS = Compute(workers=2)
Files = dict[str, bytes]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small-disk", type=Path)
    parser.add_argument("--only-run", nargs=2, type=Path, metavar=("SCANS", "OUT"), help="used by the script itself")
    options = parser.parse_args()
    if options.only_run:
        run_cohort(entries(options.only_run[0]), options.only_run[1], CohortOptions(), WORKERS, run=light_and_slow)
        return
    with tempfile.TemporaryDirectory() as folder:
        _report(Path(folder), options)


def _report(folder: Path, options: argparse.Namespace) -> None:
    scans = folder / "scans"
    for index in range(options.scans):
        path = write_light_scan(scans / f"s{index:04d}_FLAIR.nii.gz", index)
        if index % 10 == 4:
            path.write_bytes(path.read_bytes()[:1000])
    run_cohort(entries(scans), folder / "undisturbed", CohortOptions(), WORKERS, run=light)
    wanted, states = results(folder / "undisturbed"), statuses(read_records(folder / "undisturbed"))
    columns = (
        "disturbance",
        "records on disk",
        "done at once",
        "failed with a reason",
        "done after rerun",
        "byte-identical",
    )
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    print(f"| none | {options.scans} | {states['done']} | {states['failed']} | | |")
    disk = options.small_disk
    for name, disturb, out in (
        (f"{options.kills} workers killed", lambda out: _kill_workers(scans, out, options), folder / "workers"),
        ("scheduler killed", lambda out: _kill_scheduler(scans, out, options.scans // 4), folder / "scheduler"),
        ("disk full", lambda out: _fill_disk(scans, out, disk), (disk or folder) / "full"),
        ("inputs deleted", lambda out: _delete_inputs(scans, out), folder / "deleted"),
    ):
        said = disturb(out)
        first = Counter(record["status"] for record in read_records(out))
        records = run_cohort(entries(scans), out, CohortOptions(), WORKERS, run=light, retry_failed=True)
        reasons = all(record["reason"] for record in records if record["status"] == "failed")
        same = results(out) == wanted and reasons
        row = (f"{name}{said}", sum(first.values()), first["done"], first["failed"])
        print(f"| {' | '.join(map(str, row))} | {statuses(records)['done']} | {'yes' if same else 'NO'} |", flush=True)


def entries(scans: Path) -> list[Entry]:
    """The scans of a folder."""
    return with_keys(Entry(path, path.name[:5], "", "FLAIR") for path in sorted(scans.iterdir()))


def results(out: Path) -> Files:
    """Every file of every result; what a killed process was writing is hidden and no result."""
    paths = (path for name in ("scans", "thumbnails", "in_template") for path in (out / name).rglob("*"))
    files = {path.relative_to(out).as_posix(): path for path in paths if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if "/." not in name}


def statuses(records: list[Record]) -> Counter[str]:
    """How many are done and failed."""
    return Counter(record["status"] for record in records)


def _kill_workers(scans: Path, out: Path, options: argparse.Namespace) -> str:
    killer = Killer(options.kills, options.seed, longest=2.0)
    runs = 0
    while killer.killed < options.kills and (runs == 0 or _left(out, scans)):
        runs += 1
        run_cohort(entries(scans), out, CohortOptions(), WORKERS, killer, run=light_and_slow, retry_failed=runs > 1)
    killer.stop()
    return f" ({killer.killed} in {runs} run{'' if runs == 1 else 's'})"


def _left(out: Path, scans: Path) -> int:
    return len(list(scans.iterdir())) - len(read_records(out))


def _kill_scheduler(scans: Path, out: Path, after: int) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(FOLDERS)}
    command = [sys.executable, __file__, "--only-run", scans, out]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        _until(lambda: len(read_records(out)) >= after)
        process.send_signal(signal.SIGKILL)
    time.sleep(5.0)  # its workers end
    return f" after {after} scans"


def _fill_disk(scans: Path, out: Path, disk: Path | None) -> str:
    if disk is None:
        run_cohort(entries(scans), out, CohortOptions(), WORKERS, run=light_on_a_full_disk)
        return " (files of at most 8 kB)"
    ballast = disk / "ballast"
    state = os.statvfs(disk)
    ballast.write_bytes(b"\0" * max(0, state.f_bavail * state.f_frsize - 1_000_000))
    try:
        run_cohort(entries(scans), out, CohortOptions(), WORKERS, run=light)
    except BrainAnomalyError as error:
        return f" (the run ends: {error.message})"
    finally:
        ballast.unlink()
    return " (1 MB left)"


def _delete_inputs(scans: Path, out: Path) -> str:
    """A fifth is moved away when the first scan has ended, and comes back for the rerun."""
    gone = sorted(scans.iterdir())[3::5]
    count, away = len(gone), scans.with_name("away")
    away.mkdir()
    run_cohort(entries(scans), out, CohortOptions(), WORKERS, _Moves(gone, away), run=light_and_slow)
    for path in away.iterdir():
        path.rename(scans / path.name)
    return f" ({count})"


class _Moves(Listener):
    """Moves files away when the first scan has ended."""

    def __init__(self, paths: list[Path], away: Path) -> None:
        self._paths, self._away = paths, away

    def finished(self, record: Record) -> None:
        while self._paths:
            path = self._paths.pop()
            path.rename(self._away / path.name)


def _until(true: Callable[[], bool]) -> None:
    while not true():
        time.sleep(0.1)


if __name__ == "__main__":
    main()
