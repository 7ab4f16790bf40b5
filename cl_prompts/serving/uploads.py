"""Images and labels that clients send: limits, formats and decoding."""

import hashlib
import unicodedata
from collections.abc import Sequence
from io import BytesIO

from PIL import Image
from torch import Tensor

from cl_prompts.datasets.decoding import FORMATS, decode
from cl_prompts.datasets.files import StoredImage
from cl_prompts.errors import RunError
from cl_prompts.experiments.trained.card import Card
from cl_prompts.experiments.trained.predicting import UNKNOWN
from cl_prompts.serving.snapshot import Refused

#: bytes of a request, and pixels of an image
MOST_BYTES, MOST_PIXELS = 10 * 2**20, 50_000_000

_LONGEST = 100  # characters of a label


def prepared(content: bytes, card: Card) -> tuple[str, Tensor]:
    """Return the SHA-256 of an encoded image, and the input (3, size, size) of the network.

    Raises:
        Refused: it is too large, of another format, or damaged.
    """
    width, height = _size(content)
    if width * height > MOST_PIXELS:
        raise Refused(413, f"the image has {width} x {height} pixels: send at most 50 megapixels")
    stored = StoredImage([{"image": {"bytes": content}}], "image", "upload", 0)
    transform = card.transform_of([stored])
    assert transform is not None
    try:
        return hashlib.sha256(content).hexdigest(), transform(decode(stored))
    except RunError as error:
        raise Refused(422, f"the image is damaged: {str(error).partition(': ')[2]}") from error


def checked_label(label: str, classes: Sequence[str]) -> str:
    """Return the name of a class, new or one of these.

    Raises:
        InputError: a name that classes cannot have.
    """
    label = _plain(label)
    if not label or len(label) > _LONGEST or not label.isprintable():
        raise Refused(422, f"a label has 1 to {_LONGEST} printable characters")
    if label == UNKNOWN:
        raise Refused(422, f"{UNKNOWN!r} means that the model is not sure: choose another name")
    for name in classes:
        if _plain(name) == label:
            return name
        if _plain(name).casefold() == label.casefold():
            raise Refused(422, f"the model has the class {name!r}: write {name!r}, not {label!r}")
    return label


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip()


def _size(content: bytes) -> tuple[int, int]:
    """Return the size that a header states; no pixel is decoded."""
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            return image.size
    except Image.DecompressionBombError as error:
        raise Refused(413, "the image is too large: send at most 50 megapixels") from error
    except Exception as error:  # damaged headers raise nearly every built-in exception
        raise Refused(415, f"the file is not an image: send {', '.join(FORMATS)}") from error
