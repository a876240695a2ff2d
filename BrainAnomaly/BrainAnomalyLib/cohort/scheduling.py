"""The scans of a cohort through the workers of a Dask cluster, with what is done kept and what failed said."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import Cancelled, OutputError
from ..service import workplace
from .compute import Compute, connected
from .entries import Entry
from .records import CohortOptions, Record, identity_of, is_done, models_identity, read_record, write_record
from .work import Task, failed, run_task

# So many tasks for each worker are with the scheduler at a time: none waits, and a stop loses few.
_AHEAD = 16
# Workers of a cluster come and go; asking how many there are takes a message.
_COUNTED_EVERY_SECONDS = 5.0
Run = Callable[[Task], list[Record]]


class Plan(NamedTuple):
    """What there is to do: scans by state."""

    tasks: list[Task]
    done: list[Record]
    failed_before: list[Record]


class Listener:
    """Told what happens in a run; does nothing itself."""

    def started(self, plan: Plan, workers: int, dashboard: str) -> None:
        """The workers are there."""

    def finished(self, record: Record) -> None:
        """A scan is done or failed."""


def plan(entries: list[Entry], out: Path, options: CohortOptions, retry_failed: bool = False) -> Plan:
    """What is left to do of ``entries``: scans with a result of the same input, options, program and models are done.

    A scan that failed before is not tried again unless ``retry_failed`` or something of it has changed.
    """
    models = models_identity(options)
    tasks, done, before = [], [], []
    for _, visit in groupby(sorted(entries, key=lambda entry: (entry.group, entry.key)), key=lambda entry: entry.group):
        left = []
        for entry in visit:
            identity, record = identity_of(entry, options, models), read_record(out, entry.key)
            if record is not None and is_done(record, identity, out):
                done.append(record)
            elif record is not None and _failed_alike(record, identity) and not retry_failed:
                before.append(record)
            else:
                left.append((entry, identity))
        if left:
            tasks.append(Task(tuple(one[0] for one in left), tuple(one[1] for one in left), out, options))
    return Plan(tasks, done, before)


def _failed_alike(record: Record, identity: str) -> bool:
    return record["status"] == "failed" and record.get("identity") == identity


def run_cohort(
    entries: list[Entry],
    out: Path,
    options: CohortOptions,
    compute: Compute,
    listener: Listener | None = None,
    retry_failed: bool = False,
    run: Run = run_task,
    stop_at_failure: bool = False,
    locked: Iterable[Path] | None = None,
) -> list[Record]:
    """Run what is left to do and return the records of all ``entries``, ordered by key.

    With ``stop_at_failure`` nothing more is begun after a scan failed, and what was not run has no record. ``locked``
    are the folders that no other run may work in, ``out`` by default. Raises OutputError where another run works in one
    of these or ``out`` cannot be written, Cancelled after Ctrl-C.
    """
    listener = listener or Listener()
    with _taken(locked if locked is not None else (out,)):
        found = plan(entries, out, options, retry_failed)
        records = [*found.done, *found.failed_before]
        if found.tasks:
            with closing(_through_workers(found, compute, listener, run)) as ended:
                for record in ended:
                    records.append(record)
                    if stop_at_failure and record["status"] == "failed":
                        break
        else:
            listener.started(found, 0, "")
    return sorted(records, key=lambda record: str(record["key"]))


@contextmanager
def _taken(folders: Iterable[Path]) -> Iterator[None]:
    """No other run works in the folders. Raises OutputError."""
    with ExitStack() as stack:
        for folder in folders:
            with workplace.writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
            workplace.take(folder)
            stack.callback(workplace.release, folder)
        yield


def _through_workers(found: Plan, compute: Compute, listener: Listener, run: Run) -> Generator[Record, None, None]:
    with connected(compute) as client:
        if compute.scheduler is None and compute.slurm is None:
            client.wait_for_workers(1, timeout=120)
        listener.started(found, len(client.nthreads()), str(client.dashboard_link))
        try:
            for record in _results(client, found.tasks, {"GPU": 1} if compute.gpu else None, run):
                listener.finished(record)
                yield record
        except KeyboardInterrupt as error:
            message = "The run was stopped; scans that are done are kept."
            raise Cancelled(message, "The same command goes on.") from error


def _results(client: Any, tasks: list[Task], resources: dict[str, int] | None, run: Run) -> Iterator[Record]:
    """Records as they come; a few tasks for each worker are given out at a time.

    A task whose worker was ended several times may only have waited there beside the one that ended it: it is tried
    again alone.
    """
    from distributed import as_completed

    waiting, suspects = iter(tasks), list[Task]()
    given: dict[Any, Task] = {}
    pool = as_completed(with_results=True, raise_errors=False)

    def give(count: int) -> None:
        for task in islice(waiting, max(0, count)):
            future = client.submit(run, task, pure=False, resources=resources)
            given[future] = task
            pool.add(future)

    ahead = _Ahead(client)
    give(ahead.count())
    while given:
        future, result = next(pool)
        task = given.pop(future)
        if _was_killed(future):
            suspects.append(task)
        else:
            yield from _records(future, result, task)
        give(ahead.count() - len(given))
    for task in suspects:
        future = client.submit(run, task, pure=False, resources=resources)
        result = next(iter(as_completed([future], with_results=True, raise_errors=False)))[1]
        yield from _records(future, result, task)


def _was_killed(future: Any) -> bool:
    from distributed import KilledWorker

    return future.status == "error" and isinstance(future.exception(), KilledWorker)


class _Ahead:
    """How many tasks the scheduler should have."""

    def __init__(self, client: Any) -> None:
        self._client, self._counted, self._count = client, -_COUNTED_EVERY_SECONDS, _AHEAD

    def count(self) -> int:
        """By the workers there are, or were a moment ago."""
        if time.monotonic() - self._counted >= _COUNTED_EVERY_SECONDS:
            self._counted, self._count = time.monotonic(), _AHEAD * max(1, len(self._client.nthreads()))
        return self._count


def _records(future: Any, result: Any, task: Task) -> list[Record]:
    """What a task gave, or why it gave nothing. Raises OutputError where the scheduler is lost."""
    if future.status == "finished":
        records: list[Record] = result
        return records
    if future.status != "error":
        raise OutputError("The connection to the scheduler was lost.", "The same command goes on with what is left.")
    if _was_killed(future):
        return _all_failed(task, "The process that worked on it was ended several times, perhaps for want of memory.")
    error = future.exception()
    # A fault outside of the scan's own work, as a full disk or a library that is missing.
    return _all_failed(task, f"Its worker failed ({type(error).__name__}: {' '.join(str(error).split())}).")


def _all_failed(task: Task, reason: str) -> list[Record]:
    records = []
    for entry, identity in zip(task.entries, task.identities, strict=True):
        kept = read_record(task.out, entry.key)
        if kept is not None and is_done(kept, identity, task.out):
            records.append(kept)
            continue
        record = failed(entry, identity, reason, "Use --retry-failed.")
        with workplace.writing(task.out):
            write_record(task.out, record)
        records.append(record)
    return records
