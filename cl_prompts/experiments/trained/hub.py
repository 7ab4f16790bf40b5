"""Finished runs on the Hugging Face hub: pushed with a card that says what they are, and fetched.

The address of the hub, its token and its cache are those of the hub's own client
(``HF_ENDPOINT``, ``HF_TOKEN``, ``HF_HOME``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    ModelCardData,
    snapshot_download,
)

from cl_prompts import __version__
from cl_prompts.errors import InputError, RunError, short
from cl_prompts.experiments.results.comparison import compare
from cl_prompts.experiments.results.comparison_text import markdown_text, written
from cl_prompts.experiments.run_folder.checksums import CONFIDENCE_FILE, READ, SUMS_FILE, check_sums
from cl_prompts.experiments.run_folder.folder import LEARNED_FILE
from cl_prompts.experiments.run_folder.runs import RunRecord
from cl_prompts.experiments.runner.lineage import finished_run
from cl_prompts.user_code import label_of

#: what a name for :func:`~cl_prompts.experiments.trained.loading.load_run` begins with
SCHEME = "hf://"
#: files of a run that go to the hub, where they are there
PUSHED = (*READ, LEARNED_FILE, CONFIDENCE_FILE, SUMS_FILE)
_CARD = "README.md"


def push(folder: Path, name: str, *, public: bool = False) -> tuple[str, list[str]]:
    """Push a finished run to a repository of models, which is made where there is none.

    Its checkpoints stay here. Files of an earlier run in the repository are replaced or removed.

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
    files: dict[str, Any] = {
        file: run.folder / file for file in PUSHED if (run.folder / file).is_file()
    }
    files[_CARD] = card(run, name).encode()
    api = HfApi(library_name="cl-prompts", library_version=__version__)
    with _asking(name):
        api.create_repo(name, private=not public, exist_ok=True)
        left = {*PUSHED} & {*api.list_repo_files(name)} - files.keys()
        commit = api.create_commit(
            name,
            [
                *(CommitOperationAdd(file, content) for file, content in files.items()),
                *map(CommitOperationDelete, sorted(left)),
            ],
            commit_message=f"{run.summary['strategy']}, seed {run.summary['seed']}",
        )
    return str(commit.commit_url), list(files)


def fetched(name: str) -> Path:
    """Fetch a run from the hub into the cache of the hub's client; its folder there.

    Args:
        name: ``hf://user/name``, perhaps with ``@`` and a revision.

    Raises:
        RunError: the hub refuses, or cannot be reached.
        InputError: it has no run under this name.
    """
    repository, _, revision = name.removeprefix(SCHEME).partition("@")
    with _asking(repository):
        folder = Path(
            snapshot_download(repository, revision=revision or None, allow_patterns=list(PUSHED))
        )
    if not (folder / "summary.json").is_file():
        raise InputError(f"{repository} on the hub holds no summary.json: it is not a run")
    return folder


@contextmanager
def _asking(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the client raises its own errors, httpx's and the system's
        raise RunError(
            f"cannot reach {short(name)} on {HfApi().endpoint} ({type(error).__name__}:"
            f" {short(error)}). Check the network and the name; to push, run hf auth login."
        ) from error


def card(run: RunRecord, name: str) -> str:
    """Model card of a run, as Markdown: how it was trained, how to load it, and its numbers. The
    licence is the user's to name.
    """
    said = run.summary
    label = label_of(said["strategy"])
    tags = ["continual-learning", "vision-transformer", label]
    about = ModelCardData(library_name="cl-prompts", pipeline_tag="image-classification", tags=tags)
    trained = markdown_text(
        f"{label} on {said['dataset']}, a {said['scenario']} stream of {said['n_classes']} classes"
        f" in {said['n_tasks']} tasks. The backbone, {said['backbone']}, is not included."
        f" Command: {said['command']}"
    )
    return f"""\
---
{about.to_yaml()}
---
# {markdown_text(name)}

{trained}

```python
from cl_prompts.experiments import load_run

run = load_run({SCHEME + name!r})
print(run.predict(["image.jpg"]).labels)
```

{written(compare([run.folder]), "markdown")}
"""
