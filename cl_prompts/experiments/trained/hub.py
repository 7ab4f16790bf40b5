"""Push finished runs to the Hugging Face hub with a model card, and fetch them.

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

#: prefix of names that :func:`~cl_prompts.experiments.trained.loading.load_run` fetches
SCHEME = "hf://"
#: files of a run that are pushed if they exist
PUSHED = (*READ, LEARNED_FILE, CONFIDENCE_FILE, SUMS_FILE)
_CARD = "README.md"


def push(folder: Path, name: str, *, public: bool = False) -> tuple[str, list[str]]:
    """Push a finished run to a model repository, and create that if it does not exist.

    Checkpoints are not pushed. Files of an earlier run in the repository are replaced or removed.

    Args:
        folder: run folder.
        name: repository, ``user/name``.
        public: make a new repository public.

    Returns:
        Address of the commit, and names of the files.

    Raises:
        InputError: no finished run, or one that was changed.
        RunError: the hub refuses, or cannot be reached.
    """
    run = finished_run(folder)
    # Push only files that are unchanged since the run.
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
    """Fetch a run into the cache of the hub's client, and return its folder.

    Args:
        name: ``hf://user/name``, perhaps with ``@`` and a revision.

    Raises:
        RunError: the hub refuses, or cannot be reached.
        InputError: the repository does not contain a run.
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
    """Write the model card of a run in Markdown: training, loading and scores; no licence."""
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
