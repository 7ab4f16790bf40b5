"""Lists of recipes, strategies, runs and so on, and their settings (``ls`` and ``show``)."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cl_prompts import strategies
from cl_prompts.backbones.catalog import BACKBONES
from cl_prompts.catalog import catalog
from cl_prompts.checks import words_of
from cl_prompts.errors import InputError, unknown
from cl_prompts.experiments.recipes.parameters import CODE, LISTS, Parameter, parameters
from cl_prompts.experiments.recipes.recipe_files import recipe_names, recipe_text
from cl_prompts.experiments.recipes.values import plain, written
from cl_prompts.experiments.run_folder.checksums import MODEL

_WIDTH = 96  # characters of a line of text
SHOWN = (*CODE, "backbone", "evaluation")


def lists() -> dict[str, dict[str, str]]:
    """Return all names: kind -> name -> description.

    >>> list(lists())
    ['recipes', 'strategies', 'plugins', 'scenarios', 'datasets', 'backbones']
    """
    found = {"recipes": {**recipe_names(), "...": "your own, by the name of a YAML file"}}
    for kind in ("strategies", "plugins", "scenarios", "datasets"):
        what = "Class" if kind in ("strategies", "plugins") else "function"
        found[kind] = {name: entry["about"] for name, entry in catalog()[kind].items()}
        found[kind]["..."] = f"your own, by package.module:{what}"
    found["backbones"] = {
        **{name: str(entry) for name, entry in BACKBONES.items()},
        "...": "any other ViT of timm, by its timm name",
    }
    return found


def listed(words: Sequence[str]) -> str:
    """Return the lists as text, or the entries that contain all words.

    Args:
        words: a list ("strategies") if only one is wanted, then words to search for.

    Raises:
        InputError: nothing is left.
    """
    found = lists()
    plurals = {**LISTS, "recipe": "recipes", "backbone": "backbones"}
    kind = plurals.get(words[0], words[0]) if words else ""
    if kind in found:
        found, words = {kind: found[kind]}, words[1:]
    matching = {title: _containing(entries, words) for title, entries in found.items()}
    width = max((len(name) for entries in matching.values() for name in entries), default=0)
    if not width:
        raise InputError(f"no entry has the words {' '.join(words)!r}: see cl-prompts ls")
    blocks = []
    for title, entries in matching.items():
        lines = [f"  {name:{width}}  {about}" for name, about in entries.items()]
        blocks += [title, *lines, ""] if lines else []
    return "\n".join(blocks)


def runs_below(above: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return folders and summaries of the runs below a folder, the newest last."""
    from cl_prompts.experiments.run_folder.files import read_json
    from cl_prompts.experiments.run_folder.runs import begun_at

    found = []
    for file in above.rglob("summary.json"):
        with suppress(InputError):  # damaged, or about to be written
            environment = read_json(file.with_name("environment.json"))
            summary = {**read_json(file), "time": str(environment["time"])[:16]}
            found.append((begun_at(environment), str(file.parent), summary))
    found.sort(key=lambda entry: entry[:2])
    return [(Path(folder), summary) for _, folder, summary in found]


def latest_run(above: Path) -> Path:
    """Return the folder of the newest finished run.

    Raises:
        InputError: there is none.
    """
    finished = [folder for folder, run in runs_below(above) if run["status"] == "finished"]
    if not finished:
        raise InputError(f"latest: no finished run below {above}/. Name a run folder")
    return finished[-1]


def latest_model(models: Path, runs: Path) -> Path:
    """Return the newest model: a model folder, or the folder of a finished run.

    Of a run of several strategies it is the model of the recipe's first.

    Raises:
        InputError: there is none.
    """
    from cl_prompts.experiments.run_folder.files import read_json

    found = [file for above in (models, runs) for file in above.rglob("model.json")]
    found = [file for file in found if not any(p.startswith(".") for p in file.parts)]
    if not found:
        raise InputError(f"latest: no model in {models}/ and no finished run in {runs}/. Name one")
    folder = max(found, key=lambda file: file.stat().st_mtime).parent
    if folder.name != MODEL:
        return folder
    run = folder.parent
    for plan in sorted(run.parent.parent.glob("plan-*.json"), reverse=True):
        planned = [plan.parent / one["folder"] for one in read_json(plan)["runs"]]
        if run in planned:
            return next(one for one in planned if (one / MODEL / "model.json").is_file())
    return run


def listed_runs(above: Path, words: Sequence[str] = ()) -> str:
    """Return the runs below a folder as a table, the newest last.

    Args:
        above: the folder.
        words: what a row must contain.

    Raises:
        InputError: no such run.
    """
    rows: list[tuple[str, ...]] = []
    heads = ("recipe", "method", "seed", "score", "classes", "date", "folder")
    for folder, run in runs_below(above):
        about = [run["recipe"], run["strategy"], run["seed"], _score(run), run["n_classes"]]
        row = tuple(map(str, (*about, run["time"], folder)))
        if all(word.lower() in " ".join(row).lower() for word in words):
            rows.append(row)
    if not rows:
        raise InputError(f"no run below {above}/{f' with {chr(32).join(words)}' if words else ''}")
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in (heads, *rows)
    )


def _score(run: Mapping[str, Any]) -> str:
    """The headline score of a run, or its status where it is not finished."""
    for key, title in (("map_avg", "mAP"), ("a_auc", "A_AUC"), ("a_last", "A_last")):
        value = (run.get("results") or {}).get(key)
        if run["status"] == "finished" and value is not None:
            return f"{title} {100 * value:.1f}"
    return str(run["status"])


def _containing(entries: Mapping[str, str], words: Sequence[str]) -> dict[str, str]:
    """Entries in which all words occur."""
    found = dict(entries)
    for word in words:
        texts = {name: f"{name} {about}".lower() for name, about in found.items() if name != "..."}
        found = {name: found[name] for name, text in texts.items() if word.lower() in text}
    return found


def shown_text(words: Sequence[str]) -> str:
    """Return the text of a recipe, or settings with defaults and descriptions.

    Args:
        words: a recipe; "strategy", "plugin", "scenario" or "dataset" and a name; "backbone" or
            "evaluation".

    Raises:
        InputError: an unknown name.
    """
    kind, *names = words
    if len(names) > 1:
        raise InputError(f"show one {kind} at a time, not {', '.join(names)}")
    if kind in SHOWN and (names or kind in ("backbone", "evaluation")):
        return "\n".join(_settings(kind, *names))
    if names:
        raise unknown("kind of thing to show", kind, SHOWN)
    return recipe_text(kind)


def _settings(kind: str, name: str = "") -> Iterator[str]:
    if kind == "strategy":
        yield from _of_strategy(strategies.canonical_name(name))
    elif kind == "plugin":
        accepted = parameters("plugin", name)
        yield f"{_about(name, strategies.PLUGINS, strategies.plugin_class)}\n"
        yield from _entries(accepted)
        yield f"\nas in plugins={name} {name}.{next(iter(accepted), 'setting')}=..."
    else:
        yield f"settings of {kind} {name}".rstrip() + "\n"
        yield from _entries(parameters(kind, name))


def _of_strategy(name: str) -> Iterator[str]:
    """Lines on a strategy: its own settings, the shared ones, those of its head."""
    yield _about(name, strategies.STRATEGIES, strategies.strategy_class)
    accepted = parameters("strategy", name)
    common = parameters("training")
    shared = {key: p for key, p in accepted.items() if common.get(key) == p}
    yield "\nits settings, and shared ones with other defaults\n"
    yield from _entries({key: p for key, p in accepted.items() if key not in shared})
    yield "\nshared settings\n"
    yield from _entries(shared)
    if "head" in accepted:
        given = accepted["head"].default
        yield f"\nsettings of its head, as in {name}.head.input=whitened\n"
        yield from _entries(
            {k: p._replace(default=given.get(k, p.default)) for k, p in parameters("head").items()}
        )
    yield "\nplugins, as in plugins=self_regulation: see cl-prompts ls plugins"


def _about(name: str, known: Mapping[str, Any], load: Callable[[str], type]) -> str:
    about = known[name].description if name in known else load(name).__doc__ or name
    return f"{name}: {about.strip().splitlines()[0]}"


def _entries(accepted: Mapping[str, Parameter]) -> Iterator[str]:
    """Lines on settings: name=default, allowed words, and the description below."""
    for key, (kind, default, sentence) in accepted.items():
        words = [word for word in words_of(kind) if word is not None]
        may_be = f"  ({', '.join(map(str, words))})" if words else ""
        yield f"  {key}={'' if default is ... else written(plain(default))}{may_be}"
        if sentence:
            yield textwrap.indent(textwrap.fill(_plain(sentence), _WIDTH - 6), " " * 6)


def _plain(sentence: str) -> str:
    """A sentence of a docstring without markup; of dotted names the last part."""
    return re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"\1", sentence).replace("``", "")
