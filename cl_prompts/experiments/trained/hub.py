"""Push models to the Hugging Face hub with a model card, and fetch them.

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

from cl_prompts.errors import RunError, short
from cl_prompts.experiments.results.comparison_text import markdown_text
from cl_prompts.experiments.run_folder.checksums import MODEL
from cl_prompts.experiments.run_folder.files import restore_folder
from cl_prompts.experiments.trained.card import CARD_FILE, MODEL_FILES, Card
from cl_prompts.user_code import label_of
from cl_prompts.versions import __version__

#: prefix of names of models on the hub
SCHEME = "hf://"
_CARD = "README.md"


def push(folder: Path, card: Card, name: str, *, public: bool = False) -> tuple[str, list[str]]:
    """Push a model to a model repository, and create that if it does not exist.

    Files of an earlier model in the repository are replaced or removed.

    Args:
        folder: of the model.
        card: content of its ``model.json``.
        name: repository, ``user/name``.
        public: make a new repository public.

    Returns:
        Address of the commit, and names of the files.

    Raises:
        RunError: the hub refuses, or cannot be reached.
    """
    files: dict[str, Any] = {
        file: folder / file for file in MODEL_FILES if (folder / file).is_file()
    }
    files[_CARD] = model_card(card, name).encode()
    api = HfApi(library_name="cl-prompts", library_version=__version__)
    with _asking(name):
        api.create_repo(name, private=not public, exist_ok=True)
        left = {*MODEL_FILES} & {*api.list_repo_files(name)} - files.keys()
        commit = api.create_commit(
            name,
            [
                *(CommitOperationAdd(file, content) for file, content in files.items()),
                *map(CommitOperationDelete, sorted(left)),
            ],
            commit_message=str(card),
        )
    return str(commit.commit_url), list(files)


def folder_of(place: str | Path) -> Path:
    """Return the model folder of a model folder, run folder or address on the hub."""
    if str(place).startswith("hf:/"):  # a path has lost one of its slashes
        return fetched(str(place))
    folder = Path(place)
    restore_folder(folder)
    inner = folder / MODEL
    return inner if (inner / CARD_FILE).is_file() else folder


def fetched(place: str | Path) -> Path:
    """Fetch a model into the cache of the hub's client, and return its folder.

    Args:
        place: ``hf://user/name``, perhaps with ``@`` and a revision.

    Raises:
        RunError: the hub refuses, or cannot be reached.
    """
    name = str(place).removeprefix("hf:").lstrip("/")
    repository, _, revision = name.partition("@")
    with _asking(repository):
        wanted = list(MODEL_FILES)
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=wanted))


@contextmanager
def _asking(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the client raises its own errors, httpx's and the system's
        raise RunError(
            f"cannot reach {short(name)} on {HfApi().endpoint} ({type(error).__name__}:"
            f" {short(error)}). Check the network and the name; to push, run hf auth login."
        ) from error


def model_card(card: Card, name: str) -> str:
    """Write the model card in Markdown: history, loading and accuracy; no licence."""
    label = label_of(card.method)
    tags = ["continual-learning", "vision-transformer", label]
    about = ModelCardData(library_name="cl-prompts", pipeline_tag="image-classification", tags=tags)
    classes = markdown_text(" ".join(", ".join(card.classes).split()))
    history = "\n".join(
        markdown_text(f"* {event.date}: {event.what}, {event.images} images")
        for event in card.history
    )
    return f"""\
---
{about.to_yaml()}
---
# {markdown_text(name)}

{markdown_text(str(card))}. The backbone, {card.backbone.name}, is not included.

Classes: {classes}

{history}

```python
from cl_prompts import Model

model = Model.load({SCHEME + name!r})
print(model.predict(["image.jpg"]).labels)
```
"""
