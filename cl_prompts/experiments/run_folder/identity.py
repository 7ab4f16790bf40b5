"""Compute and compare the identity of a run: everything that determines its numbers.

A run writes it to ``identity.json`` when it starts. A resume compares all of it. Tables, see
:mod:`cl_prompts.experiments.results.comparable`, and sweeps compare all but the ``package``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_prompts.checks import sha256, source_hash
from cl_prompts.datasets.fingerprint import fingerprint_change
from cl_prompts.experiments.recipes.run_config import RunConfig
from cl_prompts.experiments.recipes.values import flat, plain
from cl_prompts.user_code import code_hash
from cl_prompts.versions import NUMBERS

if TYPE_CHECKING:
    from cl_prompts.experiments.runner.run import Run

IDENTITY_FILE = "identity.json"

#: settings that do not change the numbers of a run
NOT_IDENTITY = {
    "recipe",  # a name
    "device",
    "num_workers",
    "checkpoint_every",
    "tracker",
    "tuned_on",
    "dataset.path",
    "dataset.root",  # data, weights and parents are identified by content
    "dataset.download",
    "backbone.weights",
    "label_noise.file",
    "label_noise",  # empty: without noise
    "parent.run",
}

#: modules and folders of the package that no number of a run passes through
NO_NUMBERS = (
    "serving",
    "testing.py",
    "versions.py",  # NUMBERS is compared by itself
    "experiments/cli",
    "experiments/figures",
    "experiments/report",
    "experiments/tracking",
)

_WORDS = {
    "numbers": "the results of cl-prompts changed, NUMBERS was {before} and is {now}",
    "package": "the code of cl-prompts changed",
    "settings": "its setting {name} was {before} and is {now} in config.yaml",
    "files": "the file of its setting {name} changed or is missing",
    "code": "the code of {name} changed",
    "data": "its data set changed, {now}",
    "stream": "its stream changed",
    "backbone": "the weights or the normalisation of its backbone changed",
}


def identity_of(run: Run) -> dict[str, object]:
    """Return the identity of a run, in JSON's types.

    Returns:
        The result of :func:`settings_identity`, the hash of the ``package``, the fingerprint of the
        ``data``, and SHA-256 of the ``stream`` and of the ``backbone``'s weights before training.
    """
    from cl_prompts.backbones.weight_files import weights_hash  # loads PyTorch

    stream = hashlib.sha256(json.dumps(run.split.plain()).encode())
    for rows in run.split.tasks:
        stream.update(rows.astype("<i8").tobytes())
    if run.data.train.true is not None:
        # The data is identified without noise, which the seed draws as it draws the stream.
        stream.update(run.data.train.targets.astype("<i8").tobytes())
    return {
        **settings_identity(run.settings),
        "package": package_hash(),
        "data": run.data.fingerprint(),
        "stream": stream.hexdigest(),
        "backbone": weights_hash(run.strategy.model.backbone),
    }


def settings_identity(settings: RunConfig) -> dict[str, object]:
    """Return the part of the identity that is known before the run is built.

    Returns:
        ``numbers`` of the package, ``settings`` by dotted name, and SHA-256 of the ``files`` that
        they name and of user ``code``.
    """
    values = json.loads(json.dumps(plain(asdict(settings))))
    return {
        "numbers": NUMBERS,
        "settings": {key: value for key, value in flat(values) if key not in NOT_IDENTITY},
        "files": _files_of(values),
        "code": {name: code_hash(name) for name in settings.user_code()},
    }


def modules() -> list[Path]:
    """Return the modules that determine numbers: all but those of :data:`NO_NUMBERS`."""
    package = Path(__file__).parents[2]
    apart = [package / name for name in NO_NUMBERS]
    files = sorted(package.rglob("*.py"))
    return [file for file in files if not any(map(file.is_relative_to, apart))]


@cache
def package_hash() -> str:
    """Return the :func:`~cl_prompts.checks.source_hash` of :func:`modules`."""
    return source_hash(*modules())


def _files_of(values: Mapping[str, Any]) -> dict[str, str]:
    """Return SHA-256 of each file named in the settings of data, scenario and strategy, and of the
    files of a folder named in those of the strategy."""
    found = {}
    for section in ("dataset", "scenario", "label_noise", "options"):
        arguments = {key: value for key, value in values[section].items() if key != "name"}
        for name, value in flat(arguments, f"{section}."):
            several = isinstance(value, list)
            for number, text in enumerate(value if several else [value]):
                key = f"{name}.{number}" if several else name
                if isinstance(text, str) and os.path.isfile(text):
                    found[key] = sha256(Path(text))
                elif isinstance(text, str) and section == "options" and os.path.isdir(text):
                    inside = sorted(file for file in Path(text).iterdir() if file.is_file())
                    hashes = "\n".join(map(sha256, inside))
                    found[key] = hashlib.sha256(hashes.encode()).hexdigest()
    return found


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Describe the changes between two identities.

    Args:
        before: identity in a run folder.
        now: present identity; missing parts are not compared.

    >>> list(changes({"numbers": 1, "stream": "a"}, {"numbers": 1, "stream": "b"}))
    ['its stream changed']
    """
    for part, words in _WORDS.items():
        if part not in now:
            continue
        old, new = before.get(part), now[part]
        if part == "data":
            if change := fingerprint_change(old or {}, new):
                yield words.format(now=change)
        elif isinstance(new, dict):
            old = old or {}
            # The run itself may write a file that did not exist at the start.
            names = old if part == "files" else {**old, **new}
            for name in names:
                texts = [json.dumps(one[name]) if name in one else "unset" for one in (old, new)]
                if texts[0] != texts[1]:
                    yield words.format(name=name, before=texts[0], now=texts[1])
        elif old != new:
            yield words.format(before=old, now=new)
