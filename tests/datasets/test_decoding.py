"""Decoding: each pixel format against values computed by hand, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image

from cl_prompts.datasets.decoding import decode
from cl_prompts.errors import RunError

RAMP = np.arange(65536, dtype=np.uint16).reshape(256, 256)
CORNER = np.zeros((2, 3, 3), dtype=np.uint8)
CORNER[0, 0] = (200, 100, 50)


def refusal(path: Path) -> str:
    with pytest.raises(RunError) as caught:
        decode(str(path))
    said = str(caught.value)
    assert said.startswith(f"image {path} cannot be read: ")
    assert "\n" not in said
    return said.removeprefix(f"image {path} cannot be read: ")


def save(path: Path, pixels: Any, mode: str | None = None, **options: Any) -> str:
    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    (image if mode is None else image.convert(mode)).save(path, **options)
    return str(path)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bit_grey_keeps_its_ramp(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"ramp.{suffix}"
    if suffix == "pgm":
        path.write_bytes(b"P5 256 256 65535\n" + RAMP.astype(">u2").tobytes())
    else:
        save(path, RAMP)
    image = decode(str(path))
    assert image.dtype == torch.uint8
    assert image.shape == (3, 256, 256)
    assert (image == image[:1]).all()
    expected = np.round(RAMP.astype(np.float64) / 257)
    assert np.array_equal(image[0].numpy(), expected)
    assert np.bincount(image[0].numpy().ravel()).min() >= 128  # no level is crowded or empty


def test_plain_colour_grey_palette_and_single_bits(tmp_path: Path) -> None:
    image = decode(save(tmp_path / "rgb.png", CORNER))
    assert np.array_equal(image.permute(1, 2, 0).numpy(), CORNER)
    grey = decode(save(tmp_path / "l.png", CORNER[..., 0]))
    assert grey.tolist() == [[[200, 0, 0], [0, 0, 0]]] * 3
    bits = decode(save(tmp_path / "1.png", np.array([[True, False]])))
    assert bits.tolist() == [[[255, 0]]] * 3
    palette = Image.fromarray(np.array([[0, 1, 1]], dtype=np.uint8))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    decoded = decode(save(tmp_path / "p.png", palette))
    assert decoded[:, 0].T.tolist() == [[10, 20, 30], [200, 100, 50], [200, 100, 50]]


def test_cmyk_inks_become_light(tmp_path: Path) -> None:
    for name, cmyk, rgb in [
        ("white", (0, 0, 0, 0), (255, 255, 255)),
        ("cyan", (255, 0, 0, 0), (0, 255, 255)),
        ("black", (0, 0, 0, 255), (0, 0, 0)),
    ]:
        for suffix in ("jpg", "tif"):
            path = save(tmp_path / f"{name}.{suffix}", Image.new("CMYK", (8, 8), cmyk))
            difference = decode(path)[:, 4, 4].int() - torch.tensor(rgb)
            assert difference.abs().max() <= 2, (name, suffix)


def test_transparent_pixels_show_white(tmp_path: Path) -> None:
    rgba = np.array([[[200, 100, 50, 255], [200, 100, 50, 0], [200, 100, 50, 51]]], dtype=np.uint8)
    for suffix in ("png", "tif"):
        image = decode(save(tmp_path / f"a.{suffix}", rgba))
        assert image[:, 0].T.tolist() == [[200, 100, 50], [255, 255, 255], [244, 224, 214]]
    image = decode(save(tmp_path / "la.png", np.array([[[7, 255], [7, 0]]], dtype=np.uint8)))
    assert image[:, 0].T.tolist() == [[7, 7, 7], [255, 255, 255]]
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    image = decode(save(tmp_path / "p.png", palette, transparency=0))
    assert image[:, 0].T.tolist() == [[255, 255, 255], [200, 100, 50]]
    image = decode(save(tmp_path / "key.png", CORNER, transparency=(200, 100, 50)))
    assert image[:, 0, :2].T.tolist() == [[255, 255, 255], [0, 0, 0]]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_images_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    pixels = np.zeros((16, 32, 3), dtype=np.uint8)
    pixels[:8, :16] = 255  # the upper left quarter, and nothing else
    undo = {
        **{1: lambda x: x, 2: np.fliplr, 3: lambda x: np.rot90(x, 2), 4: np.flipud},
        **{5: lambda x: np.swapaxes(x, 0, 1), 6: lambda x: np.rot90(x, 1)},
        **{7: lambda x: np.rot90(np.swapaxes(x, 0, 1), 2), 8: lambda x: np.rot90(x, -1)},
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(undo[orientation](pixels))
    quality = {} if suffix == "tif" else {"quality": 95}
    path = save(tmp_path / f"turned.{suffix}", stored, exif=exif, **quality)
    image = decode(path)
    assert image.shape == (3, 16, 32)
    assert (image.int() - torch.from_numpy(pixels).permute(2, 0, 1).int()).abs().max() <= 8


@pytest.mark.parametrize("mode", ["L", "P", "I;16", "CMYK", "RGBA"])
def test_rows_of_a_turned_tiff_without_compression_have_their_width(
    tmp_path: Path, mode: str
) -> None:
    depth = np.uint16 if mode == "I;16" else np.uint8
    levels = np.arange(12, dtype=depth).reshape(3, 4) * 20
    image = Image.fromarray(levels)
    if mode != "I;16":
        image = image.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = decode(save(tmp_path / "lying.tif", image))
    turned = decode(save(tmp_path / "turned.tif", image, exif=exif))
    assert torch.equal(turned, lying.rot90(-1, (1, 2)))


def test_damaged_exif_counts_as_none(tmp_path: Path) -> None:
    for damaged in (b"II*\0\xff\xff", b"no TIFF header"):
        path = save(tmp_path / "a.jpg", CORNER, exif=b"Exif\0\0" + damaged)
        assert decode(path).shape == (3, 2, 3)


def test_no_format_but_the_documented_ones_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow runs Ghostscript on EPS, whatever the file is called."""
    ran: list[Any] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given: ran.append(given))
    path = tmp_path / "x.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n")
    with Image.open(path) as image:
        assert image.format == "EPS"
    assert "its format is not supported" in refusal(path)
    assert ran == []


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Truncated File Read")
@pytest.mark.parametrize("cut", [0, 10, 60, -200])
def test_cut_files_are_refused(tmp_path: Path, cut: int) -> None:
    rng = np.random.default_rng(0)
    for suffix in ("png", "jpg", "webp", "tif", "bmp"):
        path = tmp_path / f"whole.{suffix}"
        save(path, rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))
        path.write_bytes(path.read_bytes()[:cut])
        assert refusal(path)


def test_missing_files_and_other_contents_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    assert "its format is not supported" in refusal(tmp_path / "text.png")
    assert "No such file" in refusal(tmp_path / "none.png")


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_grey_levels_without_a_usual_range_are_refused(tmp_path: Path, kind: Any) -> None:
    save(tmp_path / "a.tif", np.array([[0, 255]], dtype=kind))
    assert refusal(tmp_path / "a.tif") == "its grey levels have no usual form: save it with 8 bits"
    save(tmp_path / "key.png", RAMP, transparency=7)
    assert "no usual form" in refusal(tmp_path / "key.png")
