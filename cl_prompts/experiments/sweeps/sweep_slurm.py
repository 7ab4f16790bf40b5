"""Runs of a sweep as jobs of Slurm, through submitit."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

from cl_prompts.errors import InputError, one_sentence
from cl_prompts.experiments.sweeps.launching import Launching
from cl_prompts.experiments.sweeps.sweep_ledger import Ledger, SweptRun
from cl_prompts.experiments.sweeps.sweep_worker import Ended, Job, execute_elsewhere
from cl_prompts.own_code import extra

_SECONDS = 1.0  # between two looks at signals and jobs
_MINUTES = 24 * 60  # of a job, unless SBATCH_TIMELIMIT says otherwise


class SlurmLauncher:
    """Executor of runs as jobs of Slurm; all machines must share the folder of the sweep.

    sbatch itself reads ``SBATCH_PARTITION``, ``SBATCH_ACCOUNT``, ``SBATCH_TIMELIMIT`` and so on.

    Args:
        ledger: of the runs.
        how: CPUs and GPUs of each run, and jobs at the same time.
        out: folder below which submitit keeps its files.
        cluster: for submitit; None for Slurm.

    Raises:
        InputError: submitit is not installed, or Slurm is not.
    """

    def __init__(
        self, ledger: Ledger, how: Launching, out: Path, cluster: str | None = "slurm"
    ) -> None:
        """Submit nothing yet."""
        submitit = extra("submitit", "slurm", "--launcher slurm")
        if cluster == "slurm" and shutil.which("srun") is None:
            raise InputError("this machine has no srun: start --launcher slurm where sbatch works")
        self._lost = submitit.core.utils.UncompletedJobError
        self._refused = submitit.core.utils.FailedJobError
        how = how.on(ledger.waiting[0].settings.device, there=False)
        # A new one: submitit executes results that lie in it under the numbers of its jobs.
        folder = out.resolve() / "slurm" / secrets.token_hex(8)
        self._executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        self._executor.update_parameters(
            name="cl-prompts",
            cpus_per_task=how.threads,
            gpus_per_node=int(how.gpus or 0),
            timeout_min=_MINUTES,
        )
        # Slurm itself queues what there is no room for.
        self.jobs = how.jobs or len(ledger.waiting)
        self._ledger = ledger
        self._threads = how.threads
        self._under_way: list[tuple[Any, SweptRun]] = []

    def execute(self) -> None:
        """Execute all runs; a signal ends it early."""
        self._ledger.execute(self)

    def assign(self, run: SweptRun, job: Job) -> None:
        """Submit a run; it fails where sbatch refuses it."""
        try:
            submitted = self._executor.submit(execute_in_job, job, self._threads, str(Path.cwd()))
        except self._refused as error:
            fault = f"sbatch refused its job: {one_sentence(error)}"
            self._ledger.handle(run, Ended(fault))
        else:
            self._under_way.append((submitted, run))

    def cancel(self) -> None:
        """Cancel all jobs."""
        for job, _ in self._under_way:
            job.cancel()

    def collect(self) -> None:
        """Wait a moment, and handle the jobs that ended or died."""
        time.sleep(_SECONDS)
        # A list of its own, since jobs are taken out meanwhile.
        for job, run in [pair for pair in self._under_way if pair[0].done()]:
            self._under_way.remove((job, run))
            try:
                self._ledger.handle(run, job.result())
            except self._lost:
                # Where the job itself failed, its log says why.
                how = f"lost ({job.state}, {job.paths.stderr})"
                self._ledger.requeue_or_fail(run, how)


def execute_in_job(job: Job, threads: int, home: str) -> Ended:
    """Execute a run; the function that a job of submitit carries out.

    The signal that comes before the time limit asks for a stop with the state saved, as SIGTERM
    does. To submitit it means that the job is to be given up, or queued anew.

    Args:
        job: to execute.
        threads: of this process.
        home: folder of the sweep, which relative paths start from.
    """
    process = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        # Loader processes inherit the handler, and Slurm sends the signal to all of a job.
        if os.getpid() == process:
            signal.raise_signal(signal.SIGTERM)

    warning = signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]
    if warning != signal.SIGTERM:
        signal.signal(warning, stop)
    return execute_elsewhere(job, threads, home)
