"""Executors of jobs: local processes, Ray tasks and Slurm jobs.

An executor has ``submit(function, *arguments)``, which returns an object with ``done()``. If a
worker dies, its job is submitted again. This module imports no numeric
library, so that a worker can set its threads first.
"""

import logging
import multiprocessing
import os
import secrets
import signal
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.executors.signals import Interrupted
from cl_prompts.user_code import extra

Kind = Literal["local", "ray", "slurm"]
#: number of workers or of parallel runs
Jobs = Annotated[int, Ge(1), Le(256)]
#: variables that numeric libraries read when they are imported
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
#: number of times that a run is submitted again after its worker died
RESUBMISSIONS = 2
_MINUTES = 24 * 60  # limit of a job, unless SBATCH_TIMELIMIT is set


@dataclass(frozen=True)
class Launching:
    """Where runs are executed, and the resources of each run.

    Attributes:
        kind: "local", "ray" or "slurm".
        jobs: parallel runs; None for one locally, and for all on Ray and Slurm.
        cpus: CPUs and threads of each run on Ray and Slurm; None for 1.
        gpus: GPUs of each run, possibly a fraction; None for one if ``device`` needs it.
    """

    kind: str = "local"
    jobs: int | None = None
    cpus: int | None = None
    gpus: float | None = None

    def __post_init__(self) -> None:
        if self.kind == "local" and (self.cpus, self.gpus) != (None, None):
            raise InputError("--cpus and --gpus are for --executor ray or slurm")
        if self.kind == "slurm" and not float(self.gpus or 0).is_integer():
            raise InputError(f"--gpus is {self.gpus:g}: it must be a whole number here")

    def gpus_on(self, device: str, *, there: bool) -> float:
        """Return the GPUs of each run; ``there`` says whether "auto" finds one."""
        wanted = there if device == "auto" else device.startswith("cuda")
        return float(wanted) if self.gpus is None else self.gpus


@dataclass(frozen=True)
class Job:
    """Work for an executor: a run, or a share of the images of a model.

    Attributes:
        number: number of the job, from 1.
        label: its short name.
    """

    number: int
    label: str

    @property
    def finished(self) -> bool:
        """Whether the job has finished; a job that ended without is submitted again."""
        raise NotImplementedError

    @property
    def interrupted(self) -> bool:
        """Whether the job ended itself and saved its state."""
        return False

    def outcome(self) -> str:
        """Return how the job finished."""
        return "finished"

    def execute(self) -> None:
        """Do the work, in a worker."""
        raise NotImplementedError


def execute_job(job: Job, threads: int | None = None) -> None:
    """Execute a job in a worker, with ``threads`` threads.

    Raises the errors of the job except ``Interrupted``.
    """
    if threads is not None:
        _use_threads(threads)
    with suppress(Interrupted):  # its state is saved
        job.execute()


def _use_threads(threads: int) -> None:
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    import torch

    torch.set_num_threads(threads)


# ------------------------------------------------------------------------------ this machine


class Processes:
    """Executor in local processes, which are reused.

    Args:
        jobs: number of processes.
        threads: threads of each.
    """

    def __init__(self, jobs: int, threads: int) -> None:
        self._jobs = jobs
        self._threads = threads
        # Closing this pipe, or the end of this process, stops the workers.
        self._theirs, self._ours = multiprocessing.Pipe(duplex=False)
        self._pool = self._new()

    def _new(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._jobs,
            multiprocessing.get_context("spawn"),
            initializer=_begin_worker,
            initargs=(self._theirs, self._threads),
        )

    def submit(self, function: Callable[..., None], /, *arguments: object) -> Future[None]:
        """Submit a function to the pool; a broken pool gives a future with its error."""
        try:
            return self._pool.submit(function, *arguments)
        except BrokenExecutor as error:
            broken: Future[None] = Future()
            broken.set_exception(error)
            return broken

    def renew(self) -> None:
        """Start new processes after one died; the others save their state and end."""
        self._pool.shutdown()
        self._pool = self._new()

    def stop(self, submitted: Sequence[Future[None]]) -> None:
        """Send SIGTERM to all processes."""
        self._ours.close()

    def close(self) -> None:
        """Wait for all processes."""
        self._pool.shutdown(cancel_futures=True)
        self._ours.close()


def _begin_worker(alive: Connection, threads: int) -> None:
    # The command handles Ctrl-C and stops its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # the command has shown them
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()
    _use_threads(threads)


def _end_with(alive: Connection) -> None:
    alive.poll(None)
    # Again, since the first signal makes a run save its state, and a process that waits for a job
    # may die with a lock that the others need to end.
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)


# --------------------------------------------------------------------------------------- Ray


class RayTasks:
    """Executor in Ray tasks, one process each; Ray restarts lost tasks.

    It uses the cluster of ``RAY_ADDRESS`` or a local one started by ``ray start``; otherwise it
    starts a local cluster that ends with the command. All machines must see run folders and data
    under the same paths.

    Args:
        how: CPUs and GPUs of each run.
        device: device setting of the runs.

    Raises:
        InputError: Ray is not installed.
    """

    def __init__(self, how: Launching, device: str) -> None:
        # Before the import, which reads it: send no usage statistics.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        self._ray = extra("ray", "ray", "--executor ray")
        # No dashboard, and no output on this terminal.
        self._ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        self._threads = how.cpus or 1
        self._task = self._ray.remote(
            num_cpus=self._threads,
            num_gpus=how.gpus_on(device, there="GPU" in self._ray.cluster_resources()),
            max_retries=RESUBMISSIONS,
            max_calls=1,  # a fresh process for each run
        )(_as_task)
        self._tasks: dict[Future[None], object] = {}

    def submit(self, function: Callable[..., None], /, *arguments: object) -> Future[None]:
        """Submit a function to Ray."""
        task = self._task.remote(os.getcwd(), function, *arguments, self._threads)
        future: Future[None] = task.future()
        self._tasks[future] = task
        return future

    def stop(self, submitted: Sequence[Future[None]]) -> None:
        """Interrupt tasks as by Ctrl-C."""
        for future in submitted:
            self._ray.cancel(self._tasks[future])

    def close(self) -> None:
        """Disconnect from the cluster; stop one that was started here."""
        self._ray.shutdown()


def _as_task(home: str, function: Callable[..., None], *arguments: object) -> None:
    os.chdir(home)
    # Ray stops tasks by SIGINT, which background processes of a shell ignore.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    function(*arguments)


# ------------------------------------------------------------------------------------- Slurm


class SlurmJobs:
    """Executor in Slurm jobs; all machines must share the working directory.

    ``sbatch`` reads ``SBATCH_PARTITION``, ``SBATCH_ACCOUNT``, ``SBATCH_TIMELIMIT`` and so on. The
    result of a job is a pickle and is never read; the run folder records how the run ended.

    Args:
        how: CPUs and GPUs of each run.
        device: device setting of the runs.
        out: parent of submitit's folder.
        cluster: cluster type of submitit.

    Raises:
        InputError: submitit is not installed.
    """

    def __init__(self, how: Launching, device: str, out: Path, cluster: str = "slurm") -> None:
        submitit = extra("submitit", "submitit", "--executor slurm")
        # New and private: jobs read a pickle in it.
        folder = out.resolve() / "slurm" / secrets.token_hex(8)
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
        self._threads = how.cpus or 1
        self._executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        self._executor.update_parameters(
            name="cl-prompts",
            cpus_per_task=self._threads,
            gpus_per_node=int(how.gpus_on(device, there=False)),
            timeout_min=_MINUTES,
        )

    def submit(self, function: Callable[..., None], /, *arguments: object) -> object:
        """Submit a job."""
        try:
            return self._executor.submit(function, *arguments, self._threads)
        except RuntimeError as error:
            raise RunError(f"Slurm refused the job: {error}") from error

    def stop(self, submitted: Sequence[Any]) -> None:
        """Cancel jobs; Slurm sends them SIGTERM."""
        for job in submitted:
            job.cancel()

    def close(self) -> None:
        """Do nothing: running jobs continue in Slurm."""


#: place where functions are executed
Executor = Processes | RayTasks | SlurmJobs


def executor_of(how: Launching, device: str, out: Path, threads: int) -> Executor:
    """Return the executor that was asked for.

    Args:
        how: kind and resources.
        device: device setting of the jobs.
        out: parent of the folder for Slurm jobs.
        threads: threads of this process, which local jobs divide.
    """
    if how.kind == "ray":
        return RayTasks(how, device)
    if how.kind == "slurm":
        return SlurmJobs(how, device, out)
    n = how.jobs or 1
    return Processes(n, max(1, threads // n))
