"""Decoding of image files: what each pixel format becomes, and what is refused.

========================  =======================================================================
file                      becomes (RGB, 8 bits)
========================  =======================================================================
8 bits, 1 bit, palette    Pillow's RGB
16-bit grey               ``round(value / 257)``: 0 stays black and 65535 white
12-bit grey (TIFF)        ``round(255 * value / 4095)``
16-bit colour             its high bytes (Pillow decodes no more)
32-bit float              ``round(255 * value)``; values outside [0, 1] and NaN are refused
white is zero (TIFF)      grey as above, inverted
32-bit integers           refused: nothing says which value is white (in a PNG or PGM file the
                          format does: they are 16 bits)
CMYK, YCbCr, LAB          Pillow's RGB; colour profiles are not applied
transparent               blended over white
EXIF orientation          upright; EXIF data that cannot be read counts as none
several frames or pages   the first
other formats             refused, whatever the file is called: Pillow runs Ghostscript for EPS
more than 179 megapixels  refused by Pillow
========================  =======================================================================
"""

from __future__ import annotations

import struct

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    PHOTOMETRIC_INTERPRETATION,
    TiffImageFile,
)
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from cl_prompts.datasets.folders import FORMATS
from cl_prompts.errors import RunError

_READ = sorted(set(FORMATS.values()))
_SIXTEEN_AND_TRANSPARENT = "it is transparent with 16 bits: save it with 8 bits"
_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")


def decode(path: str) -> Tensor:
    """An image file as RGB, (3, height, width) uint8; the module says how.

    Args:
        path: of the file.

    Raises:
        RunError: names a file that cannot be read, or whose pixels have no defined meaning.
    """
    try:
        # An open file, not its path, of which Pillow would map the rows of a plain TIFF file with
        # the width of the turned image. Of these formats alone: it would run Ghostscript for EPS.
        with open(path, "rb") as file, Image.open(file, formats=_READ) as image:
            return _rgb(image)
    except Exception as error:  # Pillow raises nearly every built-in exception on damaged files
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: Exception) -> RunError:
    said = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        said = "it is of no format that is read"
    return RunError(f"image {path} cannot be read: {said}")


def _rgb(image: Image.Image) -> Tensor:
    if isinstance(image, PngImageFile) and "transparency" in image.info:
        _scale_transparent_level(image)
    sixteen_bit_format = image.format in ("PNG", "PPM")
    bits, inverted = _grey_coding(image)
    if _orientation(image) != 1:
        image = ImageOps.exif_transpose(image)
    # A palette or grey image may name one level as transparent without an alpha channel.
    transparent = image.mode in _ALPHA or "transparency" in image.info
    if image.mode == "F":
        return _grey(255 * _unit_interval(np.asarray(image)), inverted)
    if image.mode.startswith("I"):
        if image.mode == "I" and not sixteen_bit_format:
            raise ValueError(
                "it holds 32-bit integers, of which none is known to be white: save it with 8 or"
                " 16 bits"
            )
        if transparent:
            raise ValueError(_SIXTEEN_AND_TRANSPARENT)
        return _grey(255 * (np.asarray(image) / (2**bits - 1)), inverted)
    if transparent:
        image = image.convert("RGBA")
        # On white, as a page shows it: what lies below alpha 0 is arbitrary, and often black.
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return pil_to_tensor(image.convert("RGB"))


def _scale_transparent_level(image: PngImageFile) -> None:
    """Bring the transparent level of a PNG file to the scale of its pixels, which Pillow leaves as
    it is stored."""
    coding = str(image.tile[0].args)
    if coding.startswith("RGB;16"):
        raise ValueError(_SIXTEEN_AND_TRANSPARENT)
    image.info["transparency"] *= {"L;2": 85, "L;4": 17}.get(coding, 1)


def _grey_coding(image: Image.Image) -> tuple[int, bool]:
    """Bits of a grey level, and whether 0 is white, where there are more than 8 bits."""
    # Pillow gives such levels of TIFF files as they are stored; fewer bits it converts itself.
    if not isinstance(image, TiffImageFile):
        return 16, False
    bits = image.tag_v2.get(BITSPERSAMPLE, (16,))[0]
    return bits, image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == 0


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 (upright) where there is none or none that can be read."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, ValueError, KeyError, TypeError, struct.error):
        return 1  # damaged EXIF data, as in some photos of ImageNet; the pixels are sound


def _unit_interval(values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ValueError("it holds NaN or infinite pixels")
    low = float(values.min())
    high = float(values.max())
    if low < 0 or high > 1:
        raise ValueError(f"its floating-point pixels are {low:g} to {high:g}, not within 0 to 1")
    return values


def _grey(levels: np.ndarray, inverted: bool) -> Tensor:
    """Grey levels (height, width) from 0 to 255, rounded, in all three channels."""
    levels = 255 - levels if inverted else levels
    # np.rint would round halves to even numbers.
    rounded = np.floor(levels + 0.5).astype(np.uint8)
    return torch.from_numpy(rounded).expand(3, -1, -1).contiguous()
