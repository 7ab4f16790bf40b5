"""Finished runs on the Hugging Face hub: pushed with a card that says what they are, and fetched.

The address of the hub, its token and its cache are those of the hub's own client
(``HF_ENDPOINT``, ``HF_TOKEN``, ``HF_HOME``).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_download
from huggingface_hub.utils import EntryNotFoundError, LocalEntryNotFoundError

from cl_prompts import __version__
from cl_prompts.errors import InputError, RunError, short
from cl_prompts.experiments.recipes.names import label_of
from cl_prompts.experiments.recipes.values import yaml_text
from cl_prompts.experiments.results.comparison import compare
from cl_prompts.experiments.results.comparison_text import markdown_text, written
from cl_prompts.experiments.run_folder.checksums import CONFIDENCE_FILE, READ, SUMS_FILE, check_sums
from cl_prompts.experiments.run_folder.folder import LEARNED_FILE
from cl_prompts.experiments.run_folder.runs import Run
from cl_prompts.experiments.runner.learning_on import finished_run

#: what a name for :func:`~cl_prompts.experiments.trained.loading.load_run` begins with
SCHEME = "hf://"
#: files of a run that go to the hub, where they are there
PUSHED = (*READ, LEARNED_FILE, CONFIDENCE_FILE, SUMS_FILE)
_CARD = "README.md"
_NAMED = 100  # classes that the card names
Answer = TypeVar("Answer")


def push(folder: Path, name: str, *, public: bool = False) -> tuple[str, list[str]]:
    """Push a finished run to a repository of models, which is made where there is none.

    Its checkpoints stay here. Files there that another run may have left are replaced or removed;
    what is there under other names stays, but for the card.

    Args:
        folder: of the run.
        name: of the repository, ``user/name``.
        public: whether everybody may see a repository that is made.

    Returns:
        Address of the commit, and names of the files.

    Raises:
        InputError: no finished run, or one that was changed since.
        RunError: the hub refuses, or cannot be reached.
    """
    run = finished_run(folder)
    # What others will load has to be what the run wrote.
    check_sums(run.folder, [*READ, LEARNED_FILE, CONFIDENCE_FILE])
    names = [file for file in PUSHED if (run.folder / file).is_file()]
    files: dict[str, Any] = {file: run.folder / file for file in names}
    files[_CARD] = card(run, name).encode(errors="backslashreplace")
    operations = [CommitOperationAdd(file, content) for file, content in files.items()]
    api = HfApi(library_name="cl-prompts", library_version=__version__)

    def sent() -> str:
        api.create_repo(name, private=not public, exist_ok=True)
        # What an earlier run left is none of this one's, whose checksums do not know it.
        left = [file for file in PUSHED if file not in files and api.file_exists(name, file)]
        gone = [CommitOperationDelete(file) for file in left]
        message = (
            f"{run.summary['strategy']}, seed {run.summary['seed']}, with cl-prompts {__version__}"
        )
        return str(api.create_commit(name, [*operations, *gone], commit_message=message).commit_url)

    return _asked(name, sent), list(files)


def fetched(name: str) -> Path:
    """Fetch a run from the hub into the cache of the hub's client; its folder there.

    Args:
        name: ``hf://user/name``, perhaps with ``@`` and a revision.

    Raises:
        RunError: the hub refuses, or cannot be reached.
        InputError: it has no run under this name.
    """
    repository, _, revision = name.removeprefix(SCHEME).partition("@")
    return _asked(repository, lambda: _fetch(repository, revision or None))


def _fetch(repository: str, revision: str | None) -> Path:
    try:
        folder = Path(hf_hub_download(repository, "summary.json", revision=revision)).parent
    except LocalEntryNotFoundError:  # the hub cannot be reached
        raise
    except EntryNotFoundError as error:
        raise InputError(f"{repository} on the hub holds no summary.json") from error
    for file in PUSHED:
        # The folder is called by its commit, which a branch may leave meanwhile.
        with suppress(EntryNotFoundError):
            hf_hub_download(repository, file, revision=folder.name)
    return folder


def _asked(name: str, ask: Callable[[], Answer]) -> Answer:
    try:
        return ask()
    except InputError:
        raise
    except Exception as error:  # the client raises its own errors, httpx's and the system's
        raise RunError(
            f"the hub, {HfApi().endpoint}, has an error for {short(name)} ({type(error).__name__}:"
            f" {short(error)}): look at the name, the network and, to push, at hf auth login"
        ) from error


def card(run: Run, name: str) -> str:
    """Model card of a run, as Markdown: data, backbone, numbers with definitions, and how to load
    it. The licence is the user's to name.
    """
    said = run.summary
    label = label_of(said["strategy"])
    about = {
        "library_name": "cl-prompts",
        "pipeline_tag": "image-classification",
        "tags": ["continual-learning", "vision-transformer", label],
    }
    classes = said.get("class_names") or []
    named = ", ".join(classes[:_NAMED]) + (" ..." if len(classes) > _NAMED else "")
    data = run.identity["data"]
    images = {part: data[part].get("images", "?") for part in ("training", "test")}
    published: dict[Any, str] = {True: "the published ones", False: "not the published ones"}
    lines = {
        "": f"{label} on {said['dataset']}, trained by cl-prompts"
        f" {run.environment.get('cl_prompts', '')} on a {said['scenario']} stream of"
        f" {said['n_tasks']} tasks.",
        "**Data**: ": f"{said['dataset']}, {images['training']} training and {images['test']} test"
        f" images of {said['n_classes']} classes: {named or 'without names'}.",
        "**Backbone**: ": f"{said['backbone']}, frozen and not part of these files; weights"
        f" {said.get('weights')}, {published.get(said.get('published_weights'), 'unknown')},"
        f" hash {run.identity['backbone']}.",
        "**Command**: ": str(said["command"]),
        "**Licence**: ": "to be named by whoever shared this.",
    }
    usage = [
        "from cl_prompts.experiments.trained.loading import load_run",
        "",
        f"run = load_run({SCHEME + name!r})",
        'print(run.predict(["image.jpg"]).labels)',
    ]
    numbers = written(compare([run.folder]), "markdown")
    return "\n".join(
        [
            "---",
            yaml_text(about) + "---",
            f"# {markdown_text(name)}",
            "",
            *(f"{title}{markdown_text(line)}\n" for title, line in lines.items()),
            "```python",
            *usage,
            "```",
            "",
            numbers,
            "",
            "The numbers are defined in docs/definitions.md of cl-prompts; these are of one seed.",
            "",
        ]
    )
