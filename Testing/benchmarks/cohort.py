"""What a cohort's machinery costs: many scans with a stand-in of 5 ms in place of the detection.

    python Testing/benchmarks/cohort.py [--scans 10000] [--workers 2]

Prints scans per second through scheduler, records, tables and page, the memory of this process, which is the scheduler,
and the size of the page.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("BrainAnomaly", "Testing/helpers")]

from BrainAnomalyLib.cohort.cohort_tables import write_tables
from BrainAnomalyLib.cohort.compute import Compute
from BrainAnomalyLib.cohort.page import write_page
from BrainAnomalyLib.cohort.records import CohortOptions
from BrainAnomalyLib.cohort.scheduling import run_cohort
from cohort_cases import entries, five_milliseconds


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        scans = entries(Path(folder), options.scans)
        began = time.perf_counter()
        records = run_cohort(scans, out, CohortOptions(), Compute(options.workers), run=five_milliseconds)
        ran = time.perf_counter()
        write_tables(records, out)
        page = write_page(records, out)
        ended = time.perf_counter()
        run_cohort(scans, out, CohortOptions(), Compute(options.workers), run=five_milliseconds)
        resumed = time.perf_counter() - ended
        size = sum(path.stat().st_size for path in page.parent.glob("index*")) / 2**20
    done = sum(record["status"] == "done" for record in records)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    columns = ("scans done", "workers", "scans/s", "tables, page s", "rerun of nothing s", "scheduler GB", "page MB")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    rate = options.scans / (ran - began)
    row = (done, options.workers, f"{rate:.0f}", f"{ended - ran:.1f}", f"{resumed:.1f}", f"{memory:.2f}", f"{size:.1f}")
    print(f"| {' | '.join(map(str, row))} |")


if __name__ == "__main__":
    main()
