"""Which runs may be compared: what they must share.

Two runs share a table only where everything recorded of them agrees, whatever their strategies: the
stream, data, image size, backbone and weights, normalisation, precision, evaluation, files that
these read, code that makes data and stream, the definitions of the metrics and the mark of declared
changes of numbers. Every setting counts unless it stands in ``HARMLESS``: a new one divides tables
until somebody says why it should not. Rows divide by what belongs to the strategy
(:func:`options_of`).
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from cl_prompts.experiments.recipes.values import GROUPS, flat, parsed
from cl_prompts.experiments.run_folder.identity import BATCHWISE, is_implied
from cl_prompts.experiments.run_folder.runs import Run

#: settings, or sections of them, in which runs of one table may differ, and why
HARMLESS = {
    "recipe": "a name; all that a recipe says is recorded setting by setting",
    "strategy": "what a table compares",
    "options": "belong to the strategy; runs that differ in them have rows of their own",
    "seed": "repetitions are what a mean is taken over",
    "device": "where a run is computed; numbers agree up to rounding, and the precision counts",
    "num_workers": "how many processes load images",
    "checkpoint_every": "how often a run is saved",
    "tracker": "who shows the numbers",
    "keep_images": "what is kept of the images",
    "on_missing": "images that are gone show in the fingerprint of the data",
    "dataset.download": "how the files were brought here",
    "dataset.cache_gb": "how many decoded images are kept",
    "parent.run": "each seed goes on from its own run, whose data and stream are recorded",
    "parent.sha256": "as for parent.run, which it identifies",
    "parent.settings": "how the ancestors were trained divides rows, as options do",
    "evaluation.batch_size": "no score of an image depends on the others of its batch, but where"
    " features are aligned batch by batch, or prompts mixed (BATCHWISE): there it divides rows",
}
#: settings whose effect shows in a fingerprint, harmless where that is recorded
PLACES = {
    "dataset.root": "data",
    "dataset.on_bad_image": "data",
    "backbone.weights": "backbone_hash",
}
_FINGERPRINTS = ("data", "backbone_hash", "definitions", "numbers")
_DRAWN = ("data", "backbone_hash")
#: what is not compared, but named below a table where it differs
_VERSIONS = {
    "cl_prompts": "cl-prompts",
    "git_revision": "source revisions",
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "avalanche": "Avalanche",
    "numpy": "numpy",
}
#: in the command of a search
_SEARCH = " --sampler"
_MEASURED = ("image_size", "multi_label", "n_tasks", "n_classes", "class_names")
_CHOICES = ("dataset", "scenario", "backbone")
_OWN_SEED = "that of the run"
_SHOWN = 12  # digits of a hash
Conditions = Mapping[str, str]


def conditions_of(run: Run) -> Conditions:
    """All that another run must share to stand in the same table, but for the stream itself.

    Returns:
        Values as JSON texts, under the names of settings, such as ``evaluation.every``, and of
        entries of ``summary.json`` and ``environment.json``.
    """
    found: dict[str, Any] = {f"{key}.name": run.summary[key] for key in _CHOICES}
    found["backbone.weights"] = run.summary.get("weights")
    found.update((key, run.summary[key]) for key in _MEASURED if key in run.summary)
    found["multi_label"] = run.multi_label
    settings = dict(flat(run.config))
    counted = settings.items()
    found.update(pair for pair in counted if not (is_harmless(pair[0]) or is_implied(*pair)))
    # Streams are compared between runs, see ``tables``.
    found.pop("stream_seed", None)
    for key in _FINGERPRINTS:
        value = recorded(run, key)
        if value is not None:
            # Data of one seed are compared between runs, see ``tables``.
            found[key] = _without_draws(value) if key == "data" else value
    for mark in ("definitions", "numbers"):
        if mark not in found:
            found[mark] = f"of version {run.environment.get('cl_prompts', 'unknown')}"
    for name, content in _recorded_map(run, "files").items():
        if not name.startswith("options."):
            found[f"{name} (content)"] = content
    for section in ("dataset", "scenario"):
        if run.summary[section] in _recorded_map(run, "code"):
            # With a space, as no setting has: a function of one's own may have one called source.
            found[f"{section}.source of it"] = _source_of(run, run.summary[section])
    if found["backbone.weights"] == "random":
        # Each seed draws weights of its own, which are compared between runs.
        found.pop("backbone_hash", None)
    for place, fingerprint in PLACES.items():
        if fingerprint in found and _tells_images(found[fingerprint]):
            found.pop(place, None)
    # A mapping that a setting holds may have an order.
    return {
        key: json.dumps(value, sort_keys=key not in settings, default=str)
        for key, value in found.items()
    }


def options_of(run: Run) -> dict[str, str]:
    """Identity of a row among those of one strategy: its options as recipes write them, the content
    of the files and the source of the code that they name, and how its ancestors were trained."""
    options = _mapping(run.config.get("options"))
    found = {key: _written(value) for key, value in flat(options, GROUPS["options"])}
    for name, content in _recorded_map(run, "files").items():
        if name.startswith("options."):
            found[f"content of {name.removeprefix('options.')}"] = str(content)[:_SHOWN]
    for name in _recorded_map(run, "code"):
        if name not in (run.summary["dataset"], run.summary["scenario"]):
            found[f"source of {name.partition(':')[0]}"] = _source_of(run, name)[:_SHOWN]
    ancestors = _mapping(run.config.get("parent")).get("settings")
    if ancestors is not None:
        found["parent.settings"] = ancestors[:_SHOWN]
    alignment = found.get("head.alignment", "streamed")
    by_batch = found.get("head.input") == "aligned" and alignment != "streamed"
    # Where predictions depend on batch mates, the size of batches makes another row.
    if by_batch or any(found.get(name) == word for name, word in BATCHWISE.items()):
        sizes = run.config.get("evaluation", {})
        found["evaluation.batch_size"] = _written(sizes.get("batch_size"))
    return found


def _written(value: Any) -> str:
    """A value as recipes write it: a text in quotes where it reads like another value."""
    return value if isinstance(value, str) and parsed(value) == value else json.dumps(value)


def _recorded_map(run: Run, key: str) -> Mapping[str, Any]:
    """Recorded contents of files or sources of code, by name; empty where there are none."""
    return _mapping(run.summary.get(key))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _source_of(run: Run, name: str) -> str:
    """One hash for all that a dotted name stands for."""
    text = json.dumps(run.summary["code"][name], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def notes_on(runs: Iterable[Run]) -> list[str]:
    """Sentences on the versions that runs of one table were made with, where they differ, and on
    those by which a search chose settings, where there are others."""
    runs = list(runs)
    searched = [run for run in runs if _SEARCH in str(run.summary.get("command"))]
    notes = []
    if 0 < len(searched) < len(runs):
        seeds = ", ".join(dict.fromkeys(run.seeds for run in searched))
        notes = [
            f"a search chose settings by the runs of seed {seeds}, on which they look better than"
            " they are: leave these runs out"
        ]
    return notes + _version_notes(runs)


def _version_notes(runs: Iterable[Run]) -> list[str]:
    found: dict[str, dict[str, None]] = {key: {} for key in _VERSIONS}
    for run in runs:
        for key, versions in found.items():
            versions[str(run.environment.get(key) or "unknown")] = None
            # Those with which it went on after a stop.
            for changed in run.environment.get("resumed_with") or ():
                versions |= {str(changed[key]): None} if key in changed else {}
    differing = [
        f"{_VERSIONS[key]} {', '.join(sorted(versions))}"
        for key, versions in found.items()
        if len(versions) > 1
    ]
    if not differing:
        return []
    return [f"these runs were made with different versions: {'; '.join(differing)}"]


def _tells_images(fingerprint: Any) -> bool:
    """Whether a fingerprint tells one file from another; that of images made on demand does not."""
    if not isinstance(fingerprint, Mapping):
        return True
    parts = (fingerprint.get("training"), fingerprint.get("test"))
    return all(part is not None and part.get("bytes") is not None for part in parts)


def is_harmless(key: str) -> bool:
    """Whether a setting, or the section it stands in, is in ``HARMLESS``."""
    return key in HARMLESS or key.partition(".")[0] in HARMLESS


def recorded(run: Run, key: str) -> Any:
    """Entry of the summary, or else of the environment; None where neither has it."""
    value = run.summary.get(key)
    return run.environment.get(key) if value is None else value


def tables(runs: Iterable[Run]) -> list[tuple[Conditions, list[Run]]]:
    """Finished runs divided into tables, each after what its runs share.

    Streams of one seed must be equal, and so must data and weights that a seed draws. Where runs of
    a strategy have another stream seed than seed, the stream is held fixed, and they do not share a
    table with runs whose stream follows the seed.
    """
    by_conditions: dict[frozenset[tuple[str, str]], tuple[Conditions, list[Run]]] = {}
    for run in runs:
        if run.finished:
            conditions = conditions_of(run)
            shared = by_conditions.setdefault(frozenset(conditions.items()), (conditions, []))
            shared[1].append(run)
    found: list[tuple[Conditions, list[Run]]] = []
    for conditions, members in by_conditions.values():
        for streams, group in _by_streams(members):
            for drawn, part in _by_draws(group):
                found.append(({**conditions, **streams, **drawn}, part))
    return found


def _by_draws(runs: Sequence[Run]) -> Iterator[tuple[dict[str, str], list[Run]]]:
    """Runs divided by data and weights that their seeds draw, where these differ for one seed."""
    drawn: dict[int, set[tuple[str, ...]]] = defaultdict(set)
    by_draw: dict[tuple[str, ...], list[Run]] = defaultdict(list)
    for run in runs:
        texts = tuple(json.dumps(recorded(run, key), sort_keys=True) for key in _DRAWN)
        drawn[run.summary["seed"]].add(texts)
        by_draw[texts].append(run)
    # One draw for each seed: nothing sets these runs apart.
    if all(len(different) == 1 for different in drawn.values()):
        yield {}, list(runs)
        return
    for texts, group in by_draw.items():
        yield dict(zip(_DRAWN, texts, strict=True)), group


def _without_draws(data: Any) -> Any:
    """A fingerprint without contents that are those of one seed, where what draws them is known to
    be the same."""
    if not isinstance(data, Mapping) or data.get("seed") is None:
        return data
    parts = {part: {**data[part], "contents": None} for part in ("training", "test")}
    known = data.get("at_seed_0") is not None
    return {**data, **(parts if known else {}), "seed": None}


def _by_streams(runs: Sequence[Run]) -> Iterator[tuple[dict[str, str], list[Run]]]:
    """Runs divided by the rule of their stream seeds, and by stream where equal seeds differ."""
    by_rule: dict[str, list[Run]] = defaultdict(list)
    for run, rule in zip(runs, stream_rules(runs), strict=True):
        by_rule[rule].append(run)
    for rule, members in by_rule.items():
        streams: dict[int, set[str]] = defaultdict(set)
        for run in members:
            streams[run.summary["stream_seed"]].add(_stream_of(run))
        shared = {"stream_seed": json.dumps(rule)}
        # Equal seeds made equal streams: one table, in which means are over the same streams.
        if all(len(different) == 1 for different in streams.values()):
            yield shared, members
            continue
        by_stream: dict[str, list[Run]] = defaultdict(list)
        for run in members:
            by_stream[_stream_of(run)].append(run)
        for stream, group in by_stream.items():
            yield {**shared, "stream": json.dumps(stream)}, group


def stream_rules(runs: Sequence[Run]) -> list[str]:
    """Where the stream seed of each run comes from: "that of the run", or the seed it is fixed at.

    A run whose two seeds are equal has a fixed stream where this holds for all such runs of its
    strategy and options: one of another seed has the same stream. The only run of a strategy does
    not tell: it joins a stream that others hold fixed, unless the streams of others follow their
    seeds.
    """
    seeds: dict[str, set[int]] = defaultdict(set)
    for run in runs:
        seeds[_row_of(run)].add(run.summary["stream_seed"])
    apart = {_row_of(run) for run in runs if _is_fixed(run)}
    shared = {(_row_of(run), run.summary["stream_seed"]) for run in runs if _is_fixed(run)}
    alone = {
        _row_of(run)
        for run in runs
        if not _is_fixed(run) and (_row_of(run), run.summary["stream_seed"]) not in shared
    }
    fixed = apart - alone
    # A row of one seed could have been made either way: it joins rows of a fixed stream that is its
    # own, unless there are rows whose streams follow their seeds.
    following = any(len(found) > 1 and row not in apart for row, found in seeds.items())
    offered = set() if following else set().union(*(seeds[row] for row in fixed))
    rules = []
    for run in runs:
        row = _row_of(run)
        joins = len(seeds[row]) == 1 and seeds[row] <= offered
        held = _is_fixed(run) or row in fixed or joins
        rules.append(str(run.summary["stream_seed"]) if held else _OWN_SEED)
    return rules


def _is_fixed(run: Run) -> bool:
    return bool(run.summary["seed"] != run.summary["stream_seed"])


def _row_of(run: Run) -> str:
    return json.dumps([run.summary["strategy"], options_of(run)], sort_keys=True)


def _stream_of(run: Run) -> str:
    """Hash of the stream, computed where none is recorded."""
    value = recorded(run, "stream_hash")
    if value is None:
        value = hashlib.sha256(json.dumps(run.stream, sort_keys=True).encode()).hexdigest()
    return str(value)
