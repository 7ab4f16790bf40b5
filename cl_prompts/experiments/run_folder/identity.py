"""Identity of a run: what must not have changed for it to be resumed, nor between the runs of one
row of a table.

Whatever enters the numbers is known by its content: images and labels, weights, the files that
settings name, and the source of a user's own code.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from cl_prompts import __version__
from cl_prompts.checks import InputPath
from cl_prompts.datasets.fingerprint import fingerprint_change
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.settings import Settings
from cl_prompts.experiments.recipes.signatures import (
    parameters,
    section_parameters,
    strategy_parameters,
)
from cl_prompts.experiments.recipes.values import flat, plain
from cl_prompts.own_code import sources
from cl_prompts.reading import sha256
from cl_prompts.strategies import plugin_outline

if TYPE_CHECKING:
    from cl_prompts.experiments.runner.building import Parts

#: Settings that may change before a run is resumed, and why. A name stands for all below it, too.
MAY_CHANGE = {
    "device": "where the numbers are computed, not which",
    "threads": "where the numbers are computed, not which",
    "num_workers": "views are drawn by key, whichever process reads the images",
    "checkpoint_every": "how often a run is saved does not enter its numbers",
    "tracker": "who shows the numbers does not enter them",
    "keep_images": "what is kept of the images does not enter the numbers",
    "on_missing": "images that are gone show in the fingerprint of the data",
    "dataset.download": "how the data came here does not enter the numbers",
    "dataset.root": "the data may have moved: their own fingerprint is compared",
    "backbone.weights": "the file may have moved: the weights' own hash is compared",
    "parent.run": "the run that this one goes on from may have moved: its checksums are compared",
}
#: settings that runs of an earlier commit may lack, and what these did
IMPLIED: dict[str, Any] = {
    "parent": {},
    "tracker": None,
    "keep_images": False,
    "on_missing": "fail",
}
#: published settings of strategies with which predictions depend on batch mates
BATCHWISE = {"layout": "published", "batchwise_prompt": "always"}


def identity_of(parts: Parts) -> dict[str, Any]:
    """Identity of a run, in JSON's types.

    Returns:
        what :func:`settings_identity` gives, ``numbers`` (see :func:`marks_of_numbers`), ``data``
        (see :meth:`~cl_prompts.datasets.dataset.DataSet.fingerprint`), and the SHA-256 of the
        ``stream``, of the ``backbone``'s weights before any training and its normalisation, and of
        the ``form`` of the strategy's state, see
        :func:`~cl_prompts.experiments.run_folder.checkpoint.form_of`.
    """
    # Here, since reading run folders takes no backbone and no torch.
    from cl_prompts.backbones.fingerprint import weights_hash
    from cl_prompts.experiments.run_folder.checkpoint import form_of

    return {
        **settings_identity(parts.settings),
        "numbers": marks_of_numbers(),
        "data": parts.data.fingerprint(),
        "stream": hashlib.sha256(parts.split.to_json().encode()).hexdigest(),
        "backbone": weights_hash(parts.strategy.model.backbone),
        "form": hashlib.sha256(
            json.dumps(form_of(parts.strategy.state_dict())).encode()
        ).hexdigest(),
    }


def marks_of_numbers() -> list[int]:
    """``NUMBERS`` of training and ``DEFINITIONS`` of metrics, which also differ between commits of
    one version."""
    # Here, since reading run folders takes no torch.
    from cl_prompts.metrics.continual import DEFINITIONS
    from cl_prompts.strategies.base.online import NUMBERS

    return [NUMBERS, DEFINITIONS]


def settings_identity(settings: Settings) -> dict[str, Any]:
    """Part of the identity that is known before anything is built.

    Returns:
        ``version`` of the package, ``settings``, ``files`` (see :func:`input_files`) and ``code``:
        the sources of each dotted name, see :func:`~cl_prompts.own_code.sources`.

    Raises:
        InputError: a file that cannot be read.
    """
    return {
        "version": __version__,
        "settings": _plain_settings(settings),
        "files": input_files(settings),
        "code": {name: sources(name) for name in settings.own_code()},
    }


def _plain_settings(settings: Settings) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(plain(asdict(settings))))
    return found


def input_files(settings: Settings) -> dict[str, str]:
    """SHA-256 of each file that a setting of data, scenario, strategy, plugin or form of prompts
    names, by the name of the setting.

    Any text that is the path of a file counts, keys of mappings, too, so that no setting has to be
    known here; a folder counts where its setting is declared as an
    :data:`~cl_prompts.checks.InputPath`, with all files in it. Images and backbones have
    fingerprints of their own.

    Raises:
        InputError: a file that cannot be read.
    """
    values = _plain_settings(settings)
    sections = {key: {**values[key]} for key in ("dataset", "scenario", "options")}
    for section in sections.values():
        section.pop("name", None)
    folders = tuple(f"{name}." for name in _folder_settings(settings))
    found = {}
    for name, text in _texts(sections):
        # A list or mapping of folders, too, whose parts have names below it.
        if os.path.isfile(text) or (f"{name}.".startswith(folders) and os.path.isdir(text)):
            found[name] = _content(Path(text))
    return found


def _folder_settings(settings: Settings) -> Iterator[str]:
    """Settings that may name a folder of input."""
    owners = {"options": strategy_parameters(settings.strategy)}
    for key in ("dataset", "scenario"):
        owners[key] = section_parameters(key, settings.section(key)[0])
    for name in settings.options.get("plugins", {}):
        owners[f"options.plugins.{name}"] = parameters(plugin_outline(name))
    for owner, accepted in owners.items():
        yield from (f"{owner}.{name}" for name, (kind, _) in accepted.items() if _is_path(kind))


def _is_path(kind: Any) -> bool:
    return kind == InputPath or any(map(_is_path, get_args(kind)))


def _content(path: Path, above: frozenset[Path] = frozenset()) -> str:
    """SHA-256 of a file, or of the files in a folder with their names."""
    try:
        if path.is_file():
            return sha256(path)
        # Links are followed, but for those to a folder that they lie in.
        above |= {path.resolve()}
        inside = {
            entry.name: _content(entry, above)
            for entry in sorted(path.iterdir())
            if entry.is_file() or (entry.is_dir() and entry.resolve() not in above)
        }
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error
    return hashlib.sha256(json.dumps(inside).encode()).hexdigest()


def _texts(settings: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Texts among settings, with the dotted name of each; keys of a mapping, too, where it is the
    value of a setting."""
    if isinstance(settings, str):
        yield name, settings
    elif isinstance(settings, list | Mapping):
        keyed = settings if isinstance(settings, Mapping) else dict(enumerate(settings))
        for key, value in keyed.items():
            below = f"{name}.{key}" if name else str(key)
            if "." in name and isinstance(key, str):
                yield f"{below} (key)", key
            yield from _texts(value, below)


def settings_hash(settings: Settings) -> str:
    """SHA-256 of the settings that must not change, see :data:`MAY_CHANGE`."""
    # Sorted and without implied ones, since recipes may order settings otherwise or lack new ones.
    fixed = [
        (name, repr(value))
        for name, value in flat(_plain_settings(settings))
        if not may_change(name) and not is_implied(name, value)
    ]
    return hashlib.sha256(json.dumps(sorted(fixed)).encode()).hexdigest()


def check_identity(before: Mapping[str, Any], now: Mapping[str, Any], where: str) -> None:
    """Refuse to resume what has changed.

    Args:
        before: identity in a checkpoint.
        now: that of the run as it would go on; parts that it does not have are not compared.
        where: the run folder, for messages.

    Raises:
        InputError: says what changed.
    """
    for change in changes(before, now):
        raise InputError(f"run folder {where} cannot be resumed: {change}")


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Changes between two identities, a sentence each; see :func:`check_identity`.

    >>> list(changes({"version": "0.1.0", "stream": "a"}, {"version": "0.1.0", "stream": "b"}))
    ['its stream is another one than at the checkpoint: start a new run']
    """
    for part, words in _WORDS.items():
        if part not in now:
            continue
        if part not in before:
            yield f"its checkpoint, of another commit, says nothing of its {part}: start a new run"
        elif part == "settings":
            yield from _settings_changes(before[part], now[part])
        elif part == "files":
            yield from file_changes(before[part], now[part])
        elif part == "code":
            yield from code_changes(before[part], now[part])
        elif part == "data":
            change = fingerprint_change(before[part], now[part])
            if change is not None:
                yield f"{words}, {change}: bring the data back, or start a new run"
        elif before[part] != now[part]:
            yield words.format(before=before[part], now=now[part])


_WORDS = {
    "version": (
        "its checkpoint was written by cl-prompts {before}, and this is {now}: resume it with that"
        " version, or start a new run"
    ),
    "numbers": (
        "the numbers of a method or metric changed since the commit of cl-prompts that it was made"
        " with (their marks were {before}, and are {now}): resume it with that commit, or start a"
        " new run"
    ),
    "settings": "",
    "files": "",
    "code": "",
    "data": "its data set changed",
    "stream": "its stream is another one than at the checkpoint: start a new run",
    "backbone": (
        "the weights of its backbone, or its normalisation, are others than at the checkpoint:"
        " bring them back, or start a new run"
    ),
    "form": (
        "another commit of cl-prompts wrote its checkpoint, whose state has another form: resume it"
        " with that commit, or start a new run"
    ),
}


def _settings_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    # A setting that came with a later version counts as its default in older runs.
    old, new = (with_implied(flat(settings)) for settings in (before, now))
    for name in dict.fromkeys([*old, *new]):
        if may_change(name) or ((name in old) == (name in new) and _same(old[name], new[name])):
            continue
        had = repr(old[name]) if name in old else "not there"
        has = repr(new[name]) if name in new else "not there"
        yield (
            f"its setting {name} was {had} at the checkpoint and is {has} in config.yaml: put it"
            " back, or start a new run"
        )


def file_changes(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """Changes between what :func:`input_files` gave twice, a sentence each. A file that was not
    there before was not read then, and may be one that the run itself writes."""
    for name, content in before.items():
        if now.get(name) != content:
            what = "has other content" if name in now else "is gone"
            yield f"the file of its setting {name} {what}: bring it back, or start a new run"


def code_changes(
    before: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]
) -> Iterator[str]:
    """Changes between the sources of dotted names, a sentence for each module."""
    differing = dict.fromkeys(
        module
        for name in now
        for module in dict.fromkeys([*before.get(name, {}), *now[name]])
        if before.get(name, {}).get(module) != now[name].get(module)
    )
    for module in differing:
        yield f"the source of module {module} is another one: bring it back, or start a new run"


def may_change(name: str) -> bool:
    """Whether a setting, such as ``"dataset.root"``, may change before a run is resumed."""
    return any(name == free or name.startswith(f"{free}.") for free in MAY_CHANGE)


def is_implied(key: str, value: Any) -> bool:
    """Whether a setting has the value that its lack stands for, see ``IMPLIED``."""
    return key in IMPLIED and bool(IMPLIED[key] == value)


def with_implied(settings: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Settings by name, among them those that runs of an earlier commit lack."""
    return {**IMPLIED, **dict(settings)}


def _same(a: Any, b: Any) -> bool:
    """Whether two values are equal and of one type: True is not 1, and NaN is itself."""
    return repr(a) == repr(b)
