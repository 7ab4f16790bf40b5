"""Decoding of image files to RGB with 8 bits.

========================  =======================================================================
file                      becomes (RGB, 8 bits)
========================  =======================================================================
8 bits, 1 bit, palette    Pillow's RGB
16-bit grey               ``round(value / 257)``: 0 stays black and 65535 white
12-bit grey (TIFF)        ``round(255 * value / 4095)``
16-bit colour             its high bytes (Pillow decodes no more)
32-bit float              ``round(255 * value)``; values outside [0, 1] and NaN are refused
white is zero (TIFF)      grey as above, inverted
32-bit integers           refused: the value of white is unknown (PNG and PGM files have 16 bits)
CMYK, YCbCr, LAB          Pillow's RGB; colour profiles are not applied
transparent               blended over white
EXIF orientation          upright; unreadable EXIF data is ignored
several frames or pages   the first
other formats             refused for any file name, since Pillow runs Ghostscript for EPS
more than 179 megapixels  refused by Pillow
========================  =======================================================================
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import BinaryIO

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, TiffImageFile
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from cl_prompts.datasets.files import ImageFile, StoredImage
from cl_prompts.datasets.folders import FORMATS
from cl_prompts.errors import RunError

_READ = sorted(set(FORMATS.values()))
_SIXTEEN_AND_TRANSPARENT = "it is transparent with 16 bits: save it with 8 bits"
_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")


def decode(path: ImageFile) -> Tensor:
    """Decode an image file to RGB, (3, height, width) uint8, as the module describes.

    Raises:
        RunError: an unreadable file, or pixels without a defined meaning.
    """
    try:
        # An open file: from a path, Pillow maps rows of a rotated TIFF file with a wrong width.
        # Only these formats: Pillow would run Ghostscript for EPS.
        with _opened(path) as file, Image.open(file, formats=_READ) as image:
            return _rgb(image)
    except Exception as error:  # damaged files raise nearly every built-in exception
        raise _unreadable(path, error) from error


def _opened(path: ImageFile) -> BinaryIO:
    return BytesIO(path.read()) if isinstance(path, StoredImage) else open(path, "rb")


def _unreadable(path: ImageFile, error: Exception) -> RunError:
    said = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        said = "its format is not supported"
    return RunError(f"image {path} cannot be read: {said}")


def _rgb(image: Image.Image) -> Tensor:
    named = "transparency" in image.info  # a level that is transparent, without an alpha channel
    if named and isinstance(image, PngImageFile) and str(image.tile[0][3]).startswith("RGB;16"):
        raise ValueError(_SIXTEEN_AND_TRANSPARENT)
    sixteen_bit_format = image.format in ("PNG", "PPM")
    bits, inverted = _grey_coding(image)
    if _orientation(image) != 1:
        image = ImageOps.exif_transpose(image)
    transparent = image.mode in _ALPHA or named
    if image.mode == "F":
        return _grey(255 * _unit_interval(np.asarray(image)), inverted)
    if image.mode.startswith("I"):
        if image.mode == "I" and not sixteen_bit_format:
            raise ValueError(
                "it has 32-bit integers, whose value of white is unknown: save it with 8 or 16 bits"
            )
        if transparent:
            raise ValueError(_SIXTEEN_AND_TRANSPARENT)
        return _grey(255 * (np.asarray(image) / (2**bits - 1)), inverted)
    if transparent:
        image = image.convert("RGBA")
        # On white, as on a page: colours below alpha 0 are arbitrary, often black.
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return pil_to_tensor(image.convert("RGB"))


def _grey_coding(image: Image.Image) -> tuple[int, bool]:
    """Return the bits of a grey level above 8 bits, and whether 0 is white."""
    # Pillow does not convert such levels of TIFF files.
    if not isinstance(image, TiffImageFile):
        return 16, False
    bits = image.tag_v2.get(BITSPERSAMPLE, (16,))[0]
    return bits, image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == 0


def _orientation(image: Image.Image) -> int:
    """Return EXIF's orientation, or 1 (upright) if it is missing or unreadable."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, ValueError, KeyError, TypeError, struct.error):
        return 1  # some photos of ImageNet have damaged EXIF data


def _unit_interval(values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ValueError("it has NaN or infinite pixels")
    low = float(values.min())
    high = float(values.max())
    if low < 0 or high > 1:
        raise ValueError(f"its floating-point pixels are {low:g} to {high:g}, not within 0 to 1")
    return values


def _grey(levels: np.ndarray, inverted: bool) -> Tensor:
    """Round grey levels (height, width) from 0 to 255, and copy them to three channels."""
    levels = 255 - levels if inverted else levels
    # np.rint rounds halves to even numbers.
    rounded = np.floor(levels + 0.5).astype(np.uint8)
    return torch.from_numpy(rounded).expand(3, -1, -1).contiguous()
