"""Runs of a sweep as tasks of Ray: on the GPUs of one machine, or on many machines."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cl_prompts.errors import InputError
from cl_prompts.experiments.runner.interruption import StopRequest, stop_requests
from cl_prompts.experiments.sweeps.extras import extra
from cl_prompts.experiments.sweeps.launching import Launching
from cl_prompts.experiments.sweeps.sweep_ledger import Ledger, SweptRun
from cl_prompts.experiments.sweeps.sweep_mailbox import Mailbox
from cl_prompts.experiments.sweeps.sweep_worker import (
    THREADS,
    Ended,
    Job,
    Message,
    execute_elsewhere,
)

_SECONDS = 0.5  # between two looks at signals and at what runs say
_PATIENCE = 10.0  # seconds that nobody waits longer for a word on progress
#: shared memory of a cluster started here, in bytes: no images pass through it
_STORE = 100 * 2**20


class RayLauncher:
    """Executor of runs as tasks of Ray, each in a process of its own.

    The cluster is that of ``RAY_ADDRESS``, or the one that ``ray start`` began on this machine;
    where there is none, one is started on this machine, and ends with the sweep. All machines must
    see the run folders and the data under the paths of this one.

    Args:
        ledger: of the runs.
        how: CPUs and GPUs of each run, and runs at the same time.

    Raises:
        InputError: Ray is not installed.
    """

    def __init__(self, ledger: Ledger, how: Launching) -> None:
        """Connect to nothing yet."""
        # Nobody is told that Ray is used; a cluster that runs already decides that itself.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        self._ray = extra("ray", "ray", "--launcher ray")
        self._ledger = ledger
        self._how = how
        self._under_way: dict[Any, SweptRun] = {}

    def execute(self) -> None:
        """Execute all runs; a signal ends it early.

        Raises:
            InputError: the cluster cannot be reached, or no machine of it has what a run needs.
        """
        with _cluster(self._ray), stop_requests() as request:
            jobs = self._room()
            mailbox = self._ray.remote(Mailbox).options(num_cpus=0, max_restarts=-1).remote()
            while self._ledger.waiting or self._under_way:
                self._heed(request)
                while self._ledger.waiting and len(self._under_way) < jobs:
                    self._begin(mailbox)
                if self._under_way:
                    tasks = list(self._under_way)
                    ended, _ = self._ray.wait(tasks, timeout=_SECONDS)
                    self._listen(mailbox)
                    for task in ended:
                        self._end(task)

    def _room(self) -> int:
        """How many runs may be under way."""
        machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        device = self._ledger.waiting[0].settings.device
        self._how = self._how.on(device, there=any("GPU" in machine for machine in machines))
        fitting = sum(self._how.fitting(m.get("CPU", 0), m.get("GPU", 0)) for m in machines)
        if not fitting:
            raise InputError(
                f"no machine of the Ray cluster has {self._how}, as each run asks for: change"
                " --cpus or --gpus"
            )
        n = len(machines)
        self._ledger.say(
            f"Ray: {n} machine{'s' * (n > 1)}, room for {fitting} run{'s' * (fitting > 1)} of"
            f" {self._how} at a time"
        )
        return self._how.jobs or fitting

    def _begin(self, mailbox: Any) -> None:
        """Hand the next run to Ray."""
        run, job = self._ledger.begin()
        execute = self._ray.remote(
            num_cpus=self._how.threads,
            num_gpus=self._how.gpus,
            max_retries=0,  # a run that died goes on from here, where it is counted
            max_calls=1,  # a fresh process for each run
            runtime_env={"env_vars": dict.fromkeys(THREADS, str(self._how.threads))},
        )(_execute)
        task = execute.remote(job, self._how.threads, str(Path.cwd()), mailbox, run.number)
        self._under_way[task] = run

    def _heed(self, request: StopRequest) -> None:
        """Stop everything once a signal asks for it."""
        if request.number is not None and self._ledger.stopped is None:
            self._ledger.stop(request.number)
            for task in self._under_way:
                self._ray.cancel(task)  # as Ctrl-C: the run saves its state

    def _listen(self, mailbox: Any) -> None:
        """Take what runs under way say."""
        faults = self._ray.exceptions
        runs = {run.number: run for run in self._under_way.values()}
        try:
            said = self._ray.get(mailbox.take.remote(), timeout=_PATIENCE)
        except (faults.RayActorError, faults.GetTimeoutError):
            return  # Ray begins it anew where it died; what is lost is progress to show
        for number, message in said:
            if number in runs:
                self._ledger.hear(runs[number], message)

    def _end(self, task: Any) -> None:
        """Take the end of a run, or its death."""
        faults = self._ray.exceptions
        run = self._under_way.pop(task)
        try:
            self._ledger.hear(run, self._ray.get(task))
        except faults.TaskCancelledError:
            self._ledger.hear(run, Ended("stopped", stopped=True))
        except faults.RayTaskError as error:
            self._ledger.hear(
                run, Ended(f"{type(error.cause).__name__}: {error.cause}", str(error))
            )
        except faults.OutOfMemoryError:
            self._ledger.bury(run, "killed for want of memory")
        except faults.RayError as error:
            self._ledger.bury(run, f"lost ({type(error).__name__})")


def _execute(job: Job, threads: int, home: str, mailbox: Any, number: int) -> Ended:
    """Execute a run; the task that Ray carries out."""
    import ray

    # Cancelling comes as SIGINT, which is ignored below a shell that put the sweep behind.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sent: list[Any] = []

    def send(message: Message) -> None:
        sent[:] = [mailbox.put.remote(number, message)]

    ended = execute_elsewhere(job, threads, home, send)
    if sent:
        ray.wait(sent, timeout=_PATIENCE)  # what was sent arrives before the end
    return ended


@contextmanager
def _cluster(ray: Any) -> Iterator[None]:
    """Connect to a cluster that is there, or start one on this machine for a while."""
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        ray.init("auto", **quiet)
    except ConnectionError as error:
        address = os.environ.get("RAY_ADDRESS")
        if address:
            raise InputError(
                f"no Ray cluster answers at RAY_ADDRESS={address}: start it with ray start, or"
                " unset that variable for one on this machine"
            ) from error
        ray.init("local", include_dashboard=False, object_store_memory=_STORE, **quiet)
    try:
        yield
    finally:
        ray.shutdown()
        if is_main:
            signal.signal(signal.SIGTERM, before)  # Ray puts its own in its place
