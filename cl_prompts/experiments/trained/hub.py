"""Push models to the Hugging Face hub with a model card, and fetch them.

The address of the hub, its token and its cache are those of the hub's own client
(``HF_ENDPOINT``, ``HF_TOKEN``, ``HF_HOME``).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, ModelCardData, snapshot_download

from cl_prompts.errors import RunError, short
from cl_prompts.experiments.results.comparison import markdown_text
from cl_prompts.experiments.run_folder.files import MODEL, restore_folder
from cl_prompts.experiments.trained.card import CARD_FILE, MODEL_FILES, Card
from cl_prompts.user_code import label_of
from cl_prompts.versions import __version__


def push(folder: Path, card: Card, name: str, *, public: bool = False) -> str:
    """Push a model to a model repository, and create that if it does not exist.

    Files of an earlier model in the repository are replaced or removed.

    Args:
        folder: of the model.
        card: content of its ``model.json``.
        name: repository, ``user/name``.
        public: make a new repository public.

    Returns:
        Address of the commit.

    Raises:
        RunError: the hub refuses, or cannot be reached.
    """
    api = HfApi(library_name="cl-prompts", library_version=__version__)
    names = list(MODEL_FILES)
    with _asking(name):
        api.create_repo(name, private=not public, exist_ok=True)
        content = model_card(card, name).encode()
        api.upload_file(path_or_fileobj=content, path_in_repo="README.md", repo_id=name)
        commit = api.upload_folder(
            repo_id=name,
            folder_path=folder,
            allow_patterns=names,
            delete_patterns=names,
            commit_message=str(card),
        )
    return str(commit.commit_url)


def folder_of(place: str | Path) -> Path:
    """Return the model folder of a model folder, run folder or address on the hub.

    A model on the hub, ``hf://user/name``, perhaps with ``@`` and a revision, is fetched into the
    cache of the hub's client.

    Raises:
        RunError: the hub refuses, or cannot be reached.
    """
    if str(place).startswith("hf:/"):  # a path has lost one of its slashes
        name, _, revision = str(place).removeprefix("hf:").lstrip("/").partition("@")
        with _asking(name):
            files = list(MODEL_FILES)
            return Path(snapshot_download(name, revision=revision or None, allow_patterns=files))
    folder = Path(place)
    restore_folder(folder)
    inner = folder / MODEL
    return inner if (inner / CARD_FILE).is_file() else folder


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
    lines = [f"{card}. The backbone, {card.backbone.name}, is not included.\n"]
    lines.append(f"Classes: {' '.join(', '.join(card.classes).split())}\n")
    lines += [f"- {event.date}: {event.what}, {event.images} images" for event in card.history]
    return f"""\
---
{about.to_yaml()}
---
# {markdown_text(name)}

{markdown_text(chr(10).join(lines))}

```python
from cl_prompts import Model

model = Model.load({"hf://" + name!r})
print(model.predict("image.jpg").label)
```
"""
