"""Where a cohort runs: this computer, a running Dask cluster, or jobs of Slurm."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

from ..devices import available_processors
from ..errors import BrainAnomalyError, OptionsError

# What one worker holds at most while it detects in a scan of 0.5 mm; Testing/benchmarks/speed.py says what it takes.
_GB_A_WORKER = 3.0
_CLOSING_SECONDS = 5.0
# A worker that was killed starts anew within seconds; one that was killed meanwhile does not, and is replaced.
_LOST_AFTER = "30s"
# A scan that ended its worker so many times is given up.
_MOST_ENDED_WORKERS = 2


@dataclass(frozen=True)
class Compute:
    """``workers`` processes here (None: as many as processors and memory allow), or a cluster.

    ``scheduler`` is the address of a running one; ``slurm`` are options of ``dask_jobqueue.SLURMCluster`` and
    ``workers`` then the number of jobs. ``memory_gb`` is what the workers here may take together.
    """

    workers: int | None = None
    scheduler: str | None = None
    slurm: tuple[tuple[str, str], ...] | None = None
    gpu: bool = False
    memory_gb: float | None = None


def local_workers(wanted: int | None = None, memory_gb: float | None = None) -> int:
    """How many workers this computer takes: what is wanted, else one a processor; no more than memory allows.

    Of memory that is not given (in GB), all that is free counts, but then ``wanted`` is not questioned.
    """
    if memory_gb is not None:
        return max(1, min(wanted or available_processors(), int(memory_gb / _GB_A_WORKER)))
    if wanted is not None:
        return wanted
    import psutil

    fitting = int(psutil.virtual_memory().available / 2**30 / _GB_A_WORKER)
    return max(1, min(available_processors(), fitting))


@contextmanager
def connected(compute: Compute) -> Iterator[Any]:
    """A Dask client whose workers run one scan at a time. Raises OptionsError."""
    import dask
    import distributed

    with _configured(dask), ExitStack() as stack:
        yield stack.enter_context(_client(compute, distributed, stack))


@contextmanager
def _configured(dask: Any) -> Iterator[None]:
    """Dask's settings, and a temporary folder of its own for what it keeps."""
    with TemporaryDirectory(prefix="brain-anomaly-", ignore_cleanup_errors=True) as scratch:
        settings = {
            "temporary-directory": scratch,
            "distributed.scheduler.allowed-failures": _MOST_ENDED_WORKERS,
            "distributed.worker.memory.terminate": 0.95,
            "distributed.deploy.lost-worker-timeout": _LOST_AFTER,
            "distributed.logging.distributed": "error",
        }
        with dask.config.set(settings):
            yield


def job_script(compute: Compute) -> str:
    """What is given to Slurm for each worker."""
    import dask

    with _configured(dask), _slurm(compute) as cluster:
        return str(cluster.job_script())


def _client(compute: Compute, distributed: Any, stack: ExitStack) -> Any:
    if compute.scheduler is not None:
        try:
            return distributed.Client(compute.scheduler, timeout=10)
        except (OSError, ValueError) as error:
            message = f"There is no scheduler at '{compute.scheduler}'."
            raise OptionsError(message, "Start one with 'dask scheduler' and give its address.") from error
    if compute.slurm is not None:
        cluster = stack.enter_context(_slurm(compute))
        cluster.scale(jobs=compute.workers or 1)
        return distributed.Client(cluster)
    cluster = _local(compute, distributed)
    stack.callback(_closed, cluster)
    return distributed.Client(cluster)


def _local(compute: Compute, distributed: Any) -> Any:
    """Workers on this computer. Raises BrainAnomalyError where they do not start."""
    count = local_workers(compute.workers, compute.memory_gb)
    try:
        cluster = distributed.LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            memory_limit="auto" if compute.memory_gb is None else int(compute.memory_gb * 2**30 / count),
            dashboard_address=":0",
            resources={"GPU": 1} if compute.gpu else None,
            silence_logs="CRITICAL",
            env=_environment(),
        )
    except (RuntimeError, TimeoutError) as error:
        message = "The worker processes could not be started."
        raise BrainAnomalyError(message, "Start the command again, with fewer workers if memory is short.") from error
    # One that is killed while it starts anew is replaced.
    cluster.adapt(minimum=count, maximum=count)
    return cluster


def _closed(cluster: Any) -> None:
    """Workers that do not end in time, in the middle of a scan, are ended with this process."""
    with suppress(TimeoutError):
        cluster.close(timeout=_CLOSING_SECONDS)


def _environment() -> dict[str, str]:
    """One thread in every library of a worker, and no code from the current directory."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
    return {**dict.fromkeys(names, "1"), "PYTHONSAFEPATH": "1", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}


def _slurm(compute: Compute) -> Any:
    from dask_jobqueue import SLURMCluster

    options: dict[str, Any] = {"cores": 1, "processes": 1, "memory": "4GB", **dict(compute.slurm or ())}
    for name in ("cores", "processes"):
        options[name] = int(options[name])
    lines = [f"export {name}={value}" for name, value in _environment().items() if name != "PYTHONPATH"]
    try:
        return SLURMCluster(job_script_prologue=lines, **options)
    except (TypeError, ValueError) as error:
        raise OptionsError(f"Slurm options are not understood: {error}.", "See dask_jobqueue.SLURMCluster.") from error
