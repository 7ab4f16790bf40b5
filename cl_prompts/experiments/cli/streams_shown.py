"""The streams of a plan as text: every seed's."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from cl_prompts.datasets.registry import DataSet
from cl_prompts.experiments.recipes.names import is_dotted
from cl_prompts.experiments.recipes.settings import Settings
from cl_prompts.experiments.runner.building import Builder, split_of

#: streams that are shown as tables; of more there is a line for each
_TABLES = 5


def streams_text(runs: Sequence[Settings], builder: Builder, data: DataSet) -> str:
    """The stream of every seed: a table for each that differs, or a line where there are many.

    Raises:
        InputError: the scenario cannot make the stream of a seed.

    >>> from cl_prompts.experiments.recipes.settings import plan
    >>> runs = plan("digits", ["strategy=ncm", "seed=1-6", "scenario=disjoint", "n_tasks=2"])
    >>> builder = Builder()
    >>> print(streams_text(runs, builder, builder.data(runs[0])).splitlines()[1])
    seed 1: samples 722 720, classes 5 5
    """
    found: dict[str, tuple[Any, list[str]]] = {}
    # Strategies share the stream of a seed.
    for run in {(run.seed, run.stream_seed): run for run in runs}.values():
        # A data set of one's own may depend on the seed.
        own = builder.data(run) if is_dotted(run.dataset["name"]) else data
        split = split_of(run, own)
        _, seeds = found.setdefault(_fingerprint(split), (split, []))
        if str(run.stream_seed) not in seeds:
            seeds.append(str(run.stream_seed))
    streams = [
        (split, f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}")
        for split, seeds in found.values()
    ]
    if len(streams) == 1:
        ((split, names),) = streams
        also = f"\nthe same for each of {names}" if names.startswith("seeds") else ""
        return split.describe() + also
    if len(streams) <= _TABLES:
        return "\n\n".join(f"{names}: {split.describe()}" for split, names in streams)
    title = re.sub(r", seed=\d+", "", streams[0][0].title)
    return "\n".join([title, *(_line(names, split) for split, names in streams)])


def _fingerprint(split: Any) -> str:
    digest = hashlib.sha256()
    for rows in split.tasks:
        # Sizes as well, so that rows of neighbouring tasks cannot be mistaken for each other's.
        digest.update(f"{len(rows)} ".encode())
        digest.update(rows.tobytes())
    digest.update(split.counts.tobytes())
    return digest.hexdigest()


def _line(name: str, split: Any) -> str:
    sizes = " ".join(map(str, split.sizes))
    classes = " ".join(map(str, split.visible.sum(1)))
    return f"{name}: samples {sizes}, classes {classes}"
