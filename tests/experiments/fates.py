"""A strategy that fails or is killed mid-run, once."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from cl_prompts.errors import RunError
from cl_prompts.models.base import Output
from cl_prompts.strategies.base.stream import Batch
from cl_prompts.strategies.linear_probe import LinearProbe

#: environment variable with a folder; a file in it, named by a seed, holds the fate of that run
FATES = "CL_PROMPTS_TEST_FATES"
AT = 60  # samples
#: the strategy, by the name that a command has for it
FATED = "tests.experiments.fates:Fated"


class Fated(LinearProbe):
    """A linear probe that fails or is killed once, mid-run, as a file says."""

    def after_step(self, output: Output, batch: Batch) -> None:
        super().after_step(output, batch)
        file = Path(os.environ[FATES]) / str(self.seed)
        if self.samples_seen < AT or not file.is_file():
            return
        fate = file.read_text()
        if fate != "fails":
            file.unlink()
        meet(fate)


def meet(fate: str) -> Any:
    if fate == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fate == "is stopped":
        os.kill(os.getpid(), signal.SIGTERM)
    elif fate == "fails":
        raise RunError("the disk is full")
    elif fate == "breaks":
        raise ZeroDivisionError("nobody foresaw this")
