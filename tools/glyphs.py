"""Rendered letters and symbols, never digits: training images of the embedded tiny ViT.

Every glyph is drawn once per font into a small uint8 table; a training batch is warped, thickened
or thinned, and coarsened from that table with a few tensor operations.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import torch
import torch.nn.functional as F
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from cl_prompts.errors import InputError

# Lower-case letters that equal their capital once both fill the same box (c o s v w x z) are left
# out.
GLYPHS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + "abdefghijklmnpqrtuy" + '!"#$%&()*+/;=?@[\\]'
RENDER_SIZE = 64
INK_SIZE = 48  # the longer side of a drawn glyph; the margin takes up rotations and elastic shifts
IMAGE_SIZE = 32
# Files with decorated letters: matplotlib's mathematical fonts and its "last resort"
# boxes, and key caps.
SKIPPED_FONTS = ("cm", "STIX", "LastResort", "LinBiolinum_K")
SYSTEM_FONTS = Path("/usr/share/fonts")
CHUNKS = 4  # groups of a batch that share a stroke change and a resolution


@dataclass(frozen=True)
class GlyphTable:
    """All glyphs in all usable fonts.

    Attributes:
        images: (glyphs, fonts, RENDER_SIZE, RENDER_SIZE) uint8, light ink on a dark ground.
        font_weights: (fonts,) float, relative probabilities of the fonts; all families are equally
            likely, whatever their number of faces.
        fonts: the font files, in the order of the second axis.
    """

    images: Tensor
    font_weights: Tensor
    fonts: tuple[Path, ...]


def bundled_fonts() -> Path:
    """Folder of matplotlib's own fonts."""
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def find_fonts(glyphs: str = GLYPHS, folders: tuple[Path, ...] | None = None) -> dict[Path, str]:
    """Font files that can draw all ``glyphs``, with their family names; each family and style once.

    Args:
        glyphs: the characters that a font must have.
        folders: where to look for ``.ttf`` and ``.otf`` files, sub-folders included. Default:
            Debian's font folder and matplotlib's own fonts.

    Raises:
        InputError: no font in these folders has all glyphs, or a font file cannot be read.
    """
    folders = (SYSTEM_FONTS, bundled_fonts()) if folders is None else folders
    found: dict[Path, str] = {}
    seen: set[tuple[str, str]] = set()
    for path in sorted(p for folder in folders for p in folder.rglob("*.[to]tf")):
        if path.name.startswith(SKIPPED_FONTS):
            continue
        try:
            font = FT2Font(str(path))
        except RuntimeError as error:
            raise InputError(
                f"font file {path} cannot be read ({error}): remove it or reinstall its package"
            ) from error
        name = (font.family_name, font.style_name)
        if name in seen or not {ord(g) for g in glyphs} <= font.get_charmap().keys():
            continue
        seen.add(name)
        found[path] = font.family_name
    if not found:
        raise InputError(
            f"no .ttf or .otf font with the glyphs {glyphs} in {', '.join(map(str, folders))}"
        )
    return found


def render(glyph: str, font: Path) -> Image.Image:
    """Greyscale image of a centred glyph, light on dark, its longer side ``INK_SIZE`` pixels.

    Raises:
        InputError: the font draws nothing for this glyph.
    """
    left, top, right, bottom = ImageFont.truetype(str(font), INK_SIZE).getbbox(glyph)
    extent = max(right - left, bottom - top, 1)
    face = ImageFont.truetype(str(font), INK_SIZE * INK_SIZE / extent)
    left, top, right, bottom = face.getbbox(glyph)
    canvas = Image.new("L", (RENDER_SIZE, RENDER_SIZE))
    corner = ((RENDER_SIZE - left - right) / 2, (RENDER_SIZE - top - bottom) / 2)
    ImageDraw.Draw(canvas).text(corner, glyph, fill=255, font=face)
    if canvas.getbbox() is None:
        raise InputError(
            f"font {font} draws nothing for {glyph!r}: a font with a visible glyph is needed"
        )
    return canvas


def render_table(fonts: dict[Path, str], glyphs: str = GLYPHS) -> GlyphTable:
    """Draw every glyph in every font; ``fonts`` as from ``find_fonts``."""
    families: dict[str, list[Path]] = defaultdict(list)
    columns: dict[Path, Tensor] = {}
    for path, family in fonts.items():
        drawn = torch.stack(
            [
                torch.frombuffer(bytearray(render(g, path).tobytes()), dtype=torch.uint8)
                for g in glyphs
            ]
        )
        columns[path] = drawn.view(-1, RENDER_SIZE, RENDER_SIZE)
        families[family].append(path)
    weights = [1 / len(families[fonts[path]]) for path in columns]
    return GlyphTable(torch.stack(list(columns.values()), 1), torch.tensor(weights), tuple(columns))


def draw_batch(table: GlyphTable, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random batch: images (size, 3, 32, 32) float in [0, 1], grey, and glyph labels (size,)."""
    labels = torch.randint(len(table.images), (size,), generator=generator)
    fonts = torch.multinomial(table.font_weights, size, replacement=True, generator=generator)
    images = table.images[labels, fonts][:, None].float() / 255
    return augment(images, generator).expand(-1, 3, -1, -1), labels


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Vary stroke width, shape, resolution and contrast.

    (n, 1, RENDER_SIZE, RENDER_SIZE) -> (n, 1, 32, 32), in [0, 1].
    """
    warped = F.grid_sample(
        torch.cat([_restroke(chunk, generator) for chunk in images.chunk(CHUNKS)]),
        _random_grid(len(images), generator),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )
    coarse = torch.cat([_coarsen(chunk, generator) for chunk in warped.chunk(CHUNKS)])
    return _recolour(coarse, generator)


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator) * (high - low) + low


def _pick(options: tuple[int, ...], generator: torch.Generator) -> int:
    return options[int(torch.randint(len(options), (), generator=generator))]


def _restroke(images: Tensor, generator: torch.Generator) -> Tensor:
    """Thinner (-1), unchanged, or thicker strokes by 1 or 2 pixels of RENDER_SIZE on each side."""
    width = _pick((-1, 0, 0, 1, 1, 2), generator)
    if width == 0:
        return images
    kernel = 2 * abs(width) + 1
    sign = math.copysign(1, width)
    return sign * F.max_pool2d(sign * images, kernel, stride=1, padding=abs(width))


def _random_grid(n: int, generator: torch.Generator) -> Tensor:
    """Sampling grid (n, 32, 32, 2): rotation up to 17 degrees, scale, aspect, shear, shift, and a
    smooth elastic displacement."""
    angle = _uniform((n,), -0.3, 0.3, generator)
    shear = _uniform((n,), -0.3, 0.3, generator)
    height = _uniform((n,), 0.65, 1.05, generator)  # share of the picture that the glyph fills
    zoom_y = INK_SIZE / RENDER_SIZE / height
    zoom_x = zoom_y / _uniform((n,), 0.6, 1.2, generator)  # digits are narrower than most letters
    cos, sin = angle.cos(), angle.sin()
    shift = _uniform((n, 2), -0.08, 0.08, generator)
    rows = torch.stack(
        [
            zoom_x * cos,
            zoom_x * (shear - sin),
            shift[:, 0],
            zoom_y * sin,
            zoom_y * cos,
            shift[:, 1],
        ],
        1,
    )
    grid = F.affine_grid(rows.view(n, 2, 3), [n, 1, IMAGE_SIZE, IMAGE_SIZE], align_corners=False)
    bumps = torch.randn((n, 2, 5, 5), generator=generator) * _uniform(
        (n, 1, 1, 1), 0.0, 0.11, generator
    )
    elastic = F.interpolate(
        bumps, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bicubic", align_corners=True
    )
    return grid + elastic.permute(0, 2, 3, 1)


def _coarsen(images: Tensor, generator: torch.Generator) -> Tensor:
    """Average down to 7 to 16 pixels and enlarge bilinearly, like the 8x8 digits; one time in
    eight, leave as is."""
    side = _pick((7, 8, 8, 9, 10, 12, 16, IMAGE_SIZE), generator)
    if side == IMAGE_SIZE:
        return images
    small = F.adaptive_avg_pool2d(images, side)
    return F.interpolate(small, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", align_corners=False)


def _recolour(images: Tensor, generator: torch.Generator) -> Tensor:
    """Stretch each image to full contrast, vary its gain and gamma, and add a little noise."""
    n = len(images)
    images = images.clamp_min(0) / images.amax((1, 2, 3), keepdim=True).clamp_min(0.1)
    gain = _uniform((n, 1, 1, 1), 0.7, 1.4, generator)
    gamma = _uniform((n, 1, 1, 1), 0.7, 1.4, generator)
    noise = torch.randn(images.shape, generator=generator) * _uniform(
        (n, 1, 1, 1), 0.0, 0.05, generator
    )
    return ((images * gain).clamp(1e-6, 1) ** gamma + noise).clamp(0, 1)
