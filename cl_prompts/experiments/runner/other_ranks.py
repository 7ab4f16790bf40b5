"""Other ranks of a job, which train with rank 0 and write nothing.

Rank 0 does the work of a single process, and announces each run to the others before it starts.
"""

from __future__ import annotations

import gc
import json
from pathlib import Path

from cl_prompts.backbones import ranks
from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.recipes.settings import Settings
from cl_prompts.experiments.run_folder.folder import RunFolder, record_loss
from cl_prompts.experiments.runner.building import Builder
from cl_prompts.experiments.runner.interruption import stop_requests
from cl_prompts.experiments.runner.job import give_freed_memory_back
from cl_prompts.experiments.runner.task_loop import TaskLoop


def announce(folder: Path, settings: Settings) -> None:
    """On rank 0: send the next run to the others."""
    if ranks.is_distributed():
        ranks.broadcast_text(
            json.dumps(
                {"home": str(Path.cwd()), "folder": str(folder), "settings": settings.to_yaml()}
            )
        )


def announce_end() -> None:
    """On rank 0: send the others home, since no run is left."""
    if ranks.is_distributed():
        ranks.broadcast_text(json.dumps({}))


def take_part() -> None:
    """On the other ranks: take part in each run that rank 0 announces.

    Raises:
        InputError: the run cannot be built here, or resumed.
        RunError: a fault during a run, here or on another rank.
    """
    builder = Builder()
    path = None
    try:
        while message := json.loads(ranks.broadcast_text(None)):
            # Rank 0 has asked whether code in them is trusted.
            path = Path(message["folder"])
            if message["home"] != str(Path.cwd()):  # where it is, all ranks say the same sentence
                path = Path(message["home"]) / path
            with stop_requests() as request:
                settings = Settings.from_yaml(message["settings"], trust_code=True)
                run = TaskLoop(builder.build(settings), RunFolder(path, read_only=True))
                run.restore()
                check_start(run)
                run.train(None, request)
            del run
            gc.collect()
            give_freed_memory_back()
    except RunError as error:  # in a run, or after it, while rank 0 wrote its end
        if path is not None:
            record_loss(path, f"rank 0 was lost: {error}")
        raise


def check_start(run: TaskLoop) -> None:
    """On every rank: refuse to go on from different places.

    Raises:
        InputError: this rank, or another one, has not found the checkpoint.
    """
    here = run.parts.strategy.samples_seen
    # The greatest, and minus the least, in one exchange.
    furthest, least = ranks.highest(here, -here)
    if furthest != -least:
        raise InputError(
            f"rank {ranks.rank()} would go on from sample {here}, and another from"
            f" {-least if here == furthest else furthest}: to be resumed, run folder"
            f" {run.folder.path} must lie where all machines can read it"
        )
