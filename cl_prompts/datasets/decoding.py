"""Decoding of image files to RGB with 8 bits.

========================  =======================================================================
file                      becomes (RGB, 8 bits)
========================  =======================================================================
8 bits, 1 bit, palette    Pillow's RGB
16-bit grey               ``round(value / 257)``: 0 stays black and 65535 white
16-bit colour             its high bytes (Pillow decodes no more)
other grey levels         refused: floats, 12 or 32 bits, 0 for white, transparent 16 bits
CMYK, YCbCr, LAB          Pillow's RGB; colour profiles are not applied
transparent               blended over white
EXIF orientation          upright; unreadable EXIF data is ignored
several frames or pages   the first
HEIC, HEIF                read if ``pillow-heif`` is installed, else refused
other formats             refused for any file name, since Pillow runs Ghostscript for EPS
more than 179 megapixels  refused by Pillow
========================  =======================================================================
"""

import struct
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms.v2.functional import pil_to_tensor

from cl_prompts.datasets.files import ImageFile, content_of
from cl_prompts.errors import RunError

#: Pillow's formats of torchvision's image suffixes; no other one is decoded.
FORMATS: tuple[str, ...] = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES: tuple[str, ...] = IMG_EXTENSIONS
_HEIF = (".heic", ".heif")
with suppress(ImportError):  # an optional library, which registers a format with Pillow
    import_module("pillow_heif").register_heif_opener()
    FORMATS, SUFFIXES = (*FORMATS, "HEIF"), (*SUFFIXES, *_HEIF)
_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")


class Images(Protocol):
    """A sequence of images (3, h, w), uint8 or as a user's data set returns them.

    >>> images: Images = torch.zeros(5, 3, 8, 8, dtype=torch.uint8)
    """

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> Tensor: ...


class FileImages:
    """Images decoded from files on access.

    >>> len(FileImages(["a.png", "b.png"]))  # opens no file
    2

    Args:
        paths: one file, or row of a table, per image.

    Raises:
        RunError: on access to an unreadable image.
    """

    def __init__(self, paths: Sequence[ImageFile]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Tensor:
        return decode(self.paths[row])


def decode(path: ImageFile) -> Tensor:
    """Decode an image file to RGB, (3, height, width) uint8, as the module describes.

    Raises:
        RunError: an unreadable file, or pixels without a defined meaning.
    """
    try:
        # The content: from a path, Pillow maps rows of a rotated TIFF file with a wrong width.
        # Only these formats: Pillow would run Ghostscript for EPS.
        with Image.open(BytesIO(content_of(path)), formats=FORMATS) as image:
            return rgb_of(image)
    except Exception as error:  # damaged files raise nearly every built-in exception
        said = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            suffix = Path(str(path)).suffix
            hint = "" if suffix.lower() in SUFFIXES else f": {remedy(suffix)}"
            said = f"its format is not supported{hint}"
        raise RunError(f"image {path} cannot be read: {said}") from error


def remedy(suffix: str) -> str:
    """Say how an image file of a suffix that is not read becomes one that is.

    >>> remedy(".gif")
    'convert to PNG or JPEG'
    """
    install = suffix.lower() in _HEIF
    return "install pillow-heif or convert" if install else "convert to PNG or JPEG"


def rgb_of(image: Image.Image) -> Tensor:
    """Return the pixels of an image, (3, height, width) uint8; see :func:`decode`.

    Raises:
        ValueError: pixels without a defined meaning.
    """
    tags = getattr(image, "tag_v2", {})  # of a TIFF file
    sixteen_bits = image.format in ("PNG", "PPM") or (
        image.mode.startswith("I;16")
        and tags.get(BITSPERSAMPLE) == (16,)
        and tags.get(PHOTOMETRIC_INTERPRETATION) != 0
    )
    if _orientation(image) != 1:
        image = ImageOps.exif_transpose(image)
    transparent = image.mode in _ALPHA or "transparency" in image.info
    if image.mode.startswith(("F", "I")):
        if transparent or not sixteen_bits:
            raise ValueError("its grey levels have no usual form: save it with 8 bits")
        levels = np.floor(np.asarray(image) / 257 + 0.5).astype(np.uint8)
        return torch.from_numpy(levels).expand(3, -1, -1).contiguous()
    if transparent:
        image = image.convert("RGBA")
        # On white, as on a page: colours below alpha 0 are arbitrary, often black.
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return pil_to_tensor(image.convert("RGB"))


def _orientation(image: Image.Image) -> int:
    """Return EXIF's orientation, or 1 (upright) if it is missing or unreadable."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, ValueError, KeyError, TypeError, struct.error):
        return 1  # some photos of ImageNet have damaged EXIF data
