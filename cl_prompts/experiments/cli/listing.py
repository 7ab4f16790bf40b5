"""Lists of recipes, strategies, runs and so on, and their settings (``ls`` and ``show``)."""

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import Any

from cl_prompts.backbones.catalog import BACKBONES
from cl_prompts.catalog import catalog
from cl_prompts.checks import words_of
from cl_prompts.errors import InputError, unknown
from cl_prompts.experiments.recipes.parameters import CODE, LISTS, Parameter, parameters
from cl_prompts.experiments.recipes.recipe_files import recipe_names, recipe_text
from cl_prompts.experiments.recipes.values import plain, written
from cl_prompts.experiments.run_folder.files import MODEL, read_json

_WIDTH = 96  # characters of a line of text
_WHOLE = ("backbone", "label_noise", "evaluation")
SHOWN = (*CODE, *_WHOLE)


def lists() -> dict[str, dict[str, str]]:
    """Return all names: kind -> name -> description.

    >>> list(lists())
    ['recipes', 'strategies', 'plugins', 'scenarios', 'datasets', 'backbones']
    """
    found = {"recipes": {**recipe_names(), "...": "your own, by the name of a YAML file"}}
    for kind in ("strategies", "plugins", "scenarios", "datasets"):
        what = "Class" if kind in ("strategies", "plugins") else "function"
        own = {"...": f"your own, by package.module:{what}"}
        found[kind] = {name: entry["about"] for name, entry in catalog()[kind].items()} | own
    found["backbones"] = {name: str(entry) for name, entry in BACKBONES.items()}
    found["backbones"]["..."] = "any other ViT of timm, by its timm name"
    return found


def listed(name: str | None = None) -> str:
    """Return all lists as text, or one of them, such as "strategies".

    Raises:
        InputError: an unknown list.
    """
    found = lists()
    if name is not None:
        kind = {**LISTS, "recipe": "recipes", "backbone": "backbones"}.get(name, name)
        if kind not in found:
            raise unknown("list", name, [*found, "runs", "models"])
        found = {kind: found[kind]}
    width = max(len(name) for entries in found.values() for name in entries)
    blocks = []
    for title, entries in found.items():
        lines = [f"  {name:{width}}  {about}" for name, about in entries.items()]
        blocks += [title, *lines, ""]
    return "\n".join(blocks)


def runs_below(above: Path) -> list[tuple[str, Path, dict[str, object]]]:
    """Return starting times, folders and summaries of the runs below a folder, the newest last."""
    found = []
    for file in above.rglob("summary.json"):
        with suppress(InputError):  # damaged, or about to be written
            began = str(read_json(file.with_name("environment.json"))["time"])
            found.append((began, file.parent, read_json(file)))
    return sorted(found, key=itemgetter(0, 1))


def latest_run(above: Path) -> Path:
    """Return the folder of the newest finished run.

    Raises:
        InputError: there is none.
    """
    finished = [folder for _, folder, run in runs_below(above) if run["status"] == "finished"]
    if not finished:
        raise InputError(f"latest: no finished run below {above}/. Name a run folder")
    return finished[-1]


def latest_model(models: Path, runs: Path) -> Path:
    """Return the newest model: a model folder, or the folder of a finished run.

    Of a run of several strategies it is the model of the recipe's first.

    Raises:
        InputError: there is none.
    """
    found = [file for above in (models, runs) for file in above.rglob("model.json")]
    found = [file for file in found if not any(p.startswith(".") for p in file.parts)]
    if not found:
        raise InputError(f"latest: no model in {models}/ and no finished run in {runs}/. Name one")
    folder = max(found, key=lambda file: file.stat().st_mtime).parent
    if folder.name != MODEL:
        return folder
    run = folder.parent
    for plan in run.parent.parent.glob("plan-*.json"):
        planned = [plan.parent / place for place in read_json(plan)["runs"]]
        if run in planned:
            return next(one for one in planned if (one / MODEL / "model.json").is_file())
    return run


def listed_runs(above: Path) -> str:
    """Return the runs below a folder as a table, the newest last.

    Raises:
        InputError: there is none.
    """
    rows = []
    for began, folder, run in runs_below(above):
        about = [run["recipe"], run["strategy"], run["seed"], _score(run), run["n_classes"]]
        rows.append([*map(str, about), began[:16], str(folder)])
    if not rows:
        raise InputError(f"no run below {above}/")
    return _columns(["recipe", "method", "seed", "score", "classes", "date", "folder"], rows)


def listed_models(above: Path) -> str:
    """Return the models in a folder as a table, the newest last.

    Raises:
        InputError: there is none.
    """
    rows = []
    for file in sorted(above.glob("*/model.json"), key=lambda file: file.stat().st_mtime):
        with suppress(InputError, KeyError, TypeError, LookupError):  # damaged
            card = read_json(file)
            score, history = card["accuracy"] or {}, card["history"]
            value = f"{100 * score['value']:.1f} %" if score else "-"
            images, date = (history[-1]["images"], history[-1]["date"]) if history else (0, "-")
            about = [card["method"], len(card["classes"]), images, value, date[:16]]
            rows.append([str(file.parent), *map(str, about)])
    if not rows:
        raise InputError(f"no model in {above}/: make one with cl-prompts train FOLDER")
    return _columns(["model", "method", "classes", "images", "accuracy", "date"], rows)


def _columns(head: list[str], rows: list[list[str]]) -> str:
    """Align the rows of a table below its head."""
    rows.insert(0, head)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _score(run: Mapping[str, Any]) -> str:
    """The headline score of a run, or its status where it is not finished."""
    for key, title in (("map_avg", "mAP"), ("a_auc", "A_AUC"), ("a_last", "A_last")):
        value = (run.get("results") or {}).get(key)
        if run["status"] == "finished" and value is not None:
            return f"{title} {100 * value:.1f}"
    return str(run["status"])


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
    if kind in SHOWN and (names or kind in _WHOLE):
        return "\n".join(_settings(kind, *names))
    if names:
        raise unknown("kind of thing to show", kind, SHOWN)
    return recipe_text(kind)


def _settings(kind: str, name: str = "") -> Iterator[str]:
    """Lines on a thing: its own settings, those that strategies share, those of a head."""
    accepted = parameters(kind, name)
    about = catalog()[LISTS[kind]].get(name, {}).get("about") if kind in LISTS else None
    yield f"{name}: {about}\n" if about else f"settings of {kind} {name}".rstrip() + "\n"
    common = parameters("training") if kind == "strategy" else {}
    shared = {key: own for key, own in accepted.items() if common.get(key) == own}
    yield from _entries({key: own for key, own in accepted.items() if key not in shared})
    if shared:
        yield "\nshared settings\n"
        yield from _entries(shared)
    if "head" in accepted:
        given = accepted["head"].default
        yield f"\nsettings of its head, as in {name}.head.input=whitened\n"
        yield from _entries(
            {k: p._replace(default=given.get(k, p.default)) for k, p in parameters("head").items()}
        )


def _entries(accepted: Mapping[str, Parameter]) -> Iterator[str]:
    """Lines on settings: name=default, allowed words, and the description below."""
    for key, (kind, default, sentence) in accepted.items():
        words = [word for word in words_of(kind) if word is not None]
        may_be = f"  ({', '.join(map(str, words))})" if words else ""
        yield f"  {key}={'' if default is ... else written(plain(default))}{may_be}"
        # Without markup; of dotted names the last part.
        text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"\1", sentence).replace("``", "")
        if text:
            yield textwrap.indent(textwrap.fill(text, _WIDTH - 6), " " * 6)
