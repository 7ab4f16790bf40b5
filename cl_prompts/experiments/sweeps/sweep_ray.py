"""Runs of a sweep as tasks of Ray: on the GPUs of one machine, or on many machines."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

from cl_prompts.errors import InputError
from cl_prompts.experiments.sweeps.launching import Launching
from cl_prompts.experiments.sweeps.sweep_ledger import Ledger, SweptRun
from cl_prompts.experiments.sweeps.sweep_worker import (
    THREADS,
    Ended,
    Job,
    Message,
    MessageQueue,
    execute_elsewhere,
)
from cl_prompts.own_code import extra

_SECONDS = 0.5  # between two looks at signals and messages
_PATIENCE = 10.0  # seconds to wait for messages on progress
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
        # Before the import, which reads it: Ray reports its use to nobody, unless a cluster that
        # runs already has decided otherwise.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        self._ray = extra("ray", "ray", "--launcher ray")
        self._ledger = ledger
        self._how = how
        self._messages: Any = None
        self._tasks: dict[Any, SweptRun] = {}
        self.jobs = how.jobs or 0

    def execute(self) -> None:
        """Execute all runs; a signal ends it early.

        Raises:
            InputError: the cluster cannot be reached, or no machine of it has room for a run.
        """
        with _cluster(self._ray):
            self.jobs = self._room()
            queue = self._ray.remote(MessageQueue)
            # It takes no CPU from the runs, and begins anew where its machine is lost.
            self._messages = queue.options(num_cpus=0, max_restarts=-1).remote()
            self._ledger.execute(self)

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

    def assign(self, run: SweptRun, job: Job) -> None:
        """Give a run to Ray."""
        execute = self._ray.remote(
            num_cpus=self._how.threads,
            num_gpus=self._how.gpus,
            max_retries=0,  # a run that died goes on from here, where it is counted
            max_calls=1,  # a fresh process for each run
            # Before the libraries are loaded, which read them then.
            runtime_env={"env_vars": dict.fromkeys(THREADS, str(self._how.threads))},
        )(_execute)
        home = str(Path.cwd())
        task = execute.remote(job, self._how.threads, home, self._messages, run.number)
        self._tasks[task] = run

    def cancel(self) -> None:
        """Stop all tasks as Ctrl-C does: the runs save their state."""
        for task in self._tasks:
            self._ray.cancel(task)

    def collect(self) -> None:
        """Handle messages and ends of runs."""
        ended, _ = self._ray.wait(list(self._tasks), timeout=_SECONDS)
        self._handle_messages()
        for task in ended:
            self._join(task)

    def _handle_messages(self) -> None:
        """Handle messages of runs under way."""
        faults = self._ray.exceptions
        try:
            messages = self._ray.get(self._messages.take.remote(), timeout=_PATIENCE)
        except (faults.RayActorError, faults.GetTimeoutError):
            return  # Ray begins it anew where it died; only progress to show is lost
        for number, message in messages:
            run = self._ledger.under_way.get(number)
            if run is not None:
                self._ledger.handle(run, message)

    def _join(self, task: Any) -> None:
        """Handle the end of a run, or its death."""
        faults = self._ray.exceptions
        run = self._tasks.pop(task)
        try:
            ended = self._ray.get(task)
        except faults.TaskCancelledError:
            ended = Ended("stopped", stopped=True)
        except faults.RayTaskError as error:
            ended = Ended(f"{type(error.cause).__name__}: {error.cause}", str(error))
        except faults.OutOfMemoryError:
            self._ledger.requeue_or_fail(run, "killed for want of memory")
            return
        # The base of the others, so it comes last.
        except faults.RayError as error:
            self._ledger.requeue_or_fail(run, f"lost ({type(error).__name__})")
            return
        self._ledger.handle(run, ended)


def _execute(job: Job, threads: int, home: str, messages: Any, number: int) -> Ended:
    """Execute a run; the task that Ray carries out."""
    import ray

    # Cancelling comes as SIGINT, which is ignored below a shell that put the sweep behind.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sent: list[Any] = []

    def send(message: Message) -> None:
        # The last one alone: messages of one sender arrive in their order.
        sent[:] = [messages.put.remote(number, message)]

    ended = execute_elsewhere(job, threads, home, send)
    if sent:
        ray.wait(sent, timeout=_PATIENCE)  # messages arrive before the end
    return ended


@contextmanager
def _cluster(ray: Any) -> Iterator[None]:
    """Connect to a cluster that is there, or start one on this machine for a while."""
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        _init(ray, "auto", **quiet)
    except ConnectionError as error:
        address = os.environ.get("RAY_ADDRESS")
        if address:
            raise InputError(
                f"no Ray cluster answers at RAY_ADDRESS={address}: start it with ray start, or"
                " unset that variable for one on this machine"
            ) from error
        _init(ray, "local", include_dashboard=False, object_store_memory=_STORE, **quiet)
    try:
        yield
    finally:
        ray.shutdown()
        if is_main:
            signal.signal(signal.SIGTERM, before)  # Ray puts its own in its place


def _init(ray: Any, address: str, **how: Any) -> None:
    """Connect to a cluster, whose processes would look for modules in the folder that is the
    current one meanwhile, before all others: in one that holds no data and no modules."""
    places = os.environ.get("PYTHONPATH")
    if places:
        absolute = map(os.path.abspath, places.split(os.pathsep))
        os.environ["PYTHONPATH"] = os.pathsep.join(absolute)
    with chdir(sys.prefix):
        ray.init(address, **how)
