"""Worker processes that survive the death of one of them: a task that ends its worker twice is given up."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection
from typing import Generic, TypeVar

from BrainAnomalyLib.devices import available_processors
from BrainAnomalyLib.errors import DependencyError

Task = TypeVar("Task")
Result = TypeVar("Result")

_LOOK_UP_SECONDS = 0.5
_HOPELESS = 3


def run_tasks(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int,
    look_up: Callable[[], None] = lambda: None,
) -> Generator[tuple[int, Result | None], None, None]:
    """Index and result of every task as it finishes; None for a task whose worker process died twice.

    ``function`` and ``tasks`` travel to new processes (spawn), each with its share of the processors. When a worker
    dies, the tasks that were running are tried again one at a time, so that only the one at fault is given up.
    ``look_up`` is called twice a second; what it raises ends the workers at once and is passed on. Raises
    DependencyError when workers die whatever they are given.
    """
    order = _Order(function, tasks, workers, deque(range(len(tasks))))
    while order.unfinished:
        with _pool(workers) as pool:
            yield from order.serve(pool, look_up)


class _Order(Generic[Task, Result]):
    """What is still to do: ``waiting`` in parallel, ``suspects`` one at a time, ``running`` now."""

    def __init__(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], workers: int, waiting: deque[int]
    ) -> None:
        self.function, self.tasks, self.workers, self.waiting = function, tasks, workers, waiting
        self.suspects: deque[int] = deque()
        self.running: dict[Future[Result], int] = {}
        self.on_trial: int | None = None
        self.deaths_in_a_row = 0

    @property
    def unfinished(self) -> bool:
        return bool(self.waiting or self.suspects or self.running)

    def serve(self, pool: ProcessPoolExecutor, look_up: Callable[[], None]) -> Iterator[tuple[int, Result | None]]:
        """Results until all is done or a worker died; then everything that was running is a suspect."""
        broken = False
        while self.unfinished and not broken:
            broken = not self._submit(pool)
            done = wait(self.running, timeout=_LOOK_UP_SECONDS, return_when=FIRST_COMPLETED).done
            look_up()
            for future in done:
                index = self.running.pop(future)
                if isinstance(future.exception(), BrokenProcessPool):
                    broken = True
                    if self._is_given_up(index):
                        yield index, None
                else:
                    self.on_trial, self.deaths_in_a_row = None, 0
                    yield index, future.result()
        self.suspects.extend(sorted(self.running.values()))
        self.running.clear()

    def _submit(self, pool: ProcessPoolExecutor) -> bool:
        """Keep the workers busy; False if the pool is broken."""
        if self.suspects and not self.running:
            self.on_trial = self.suspects[0]
        if self.suspects:
            return self.on_trial is None or bool(self.running) or self._start(pool, self.suspects)
        while self.waiting and len(self.running) < self.workers:
            if not self._start(pool, self.waiting):
                return False
        return True

    def _start(self, pool: ProcessPoolExecutor, queue: deque[int]) -> bool:
        try:
            self.running[pool.submit(self.function, self.tasks[queue[0]])] = queue[0]
        except BrokenProcessPool:
            return False
        queue.popleft()
        return True

    def _is_given_up(self, index: int) -> bool:
        """Whether this task ended its worker while alone; else it becomes a suspect."""
        if index != self.on_trial:
            self.suspects.append(index)
            return False
        self.on_trial = None
        self.deaths_in_a_row += 1
        if self.deaths_in_a_row >= _HOPELESS:
            raise DependencyError(
                "The worker processes end whatever scan they are given.",
                "Free memory or use fewer workers, and check that the Python packages are complete.",
            )
        return True


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool whose workers end at once if the block is left by an exception."""
    others = set(multiprocessing.active_children())
    threads = max(1, available_processors() // workers)
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=start_worker, initargs=(threads,))
    try:
        yield pool
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def start_worker(threads: int) -> None:
    """Prepare a worker process: its share of the processors, and an end when its parent ends."""
    import SimpleITK

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # torch reads this when it is first imported, which is later than this.
    os.environ["OMP_NUM_THREADS"] = str(threads)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
