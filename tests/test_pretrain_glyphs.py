"""The embedded tiny ViT and its glyphs: the card is recomputed, and pre-training tried on two."""

import re
import unicodedata
from pathlib import Path

import glyphs
import pretrain_glyphs
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import cl_prompts

ASSETS = Path(cl_prompts.__file__).parent / "assets"
WEIGHTS = ASSETS / "glyph_vit_tiny.safetensors"
CARD = ASSETS / "glyph_vit_tiny.md"


def test_card_states_what_is_recomputed():
    """Of the shipped weights; the baselines' rows come from the tool's last lines."""
    shipped = pretrain_glyphs.load(WEIGHTS)
    measured = pretrain_glyphs.probe_digits(
        lambda images: shipped(pretrain_glyphs.normalise(images))
    )
    row = r"^\| shipped \| ([\d.]+) \| ([\d.]+) \|$"
    (stated,) = re.findall(row, CARD.read_text("utf-8"), re.MULTILINE)
    assert measured == pytest.approx(tuple(map(float, stated)), abs=0.01)


def test_shipped_file_was_trained_on_these_glyphs():
    with safe_open(WEIGHTS, framework="pt") as file:
        assert file.metadata()["glyphs"] == glyphs.GLYPHS


def test_shipped_file_is_small_fp16_and_fits_timm_exactly():
    assert WEIGHTS.stat().st_size < 4_000_000
    weights = load_file(WEIGHTS)
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    pretrain_glyphs.new_vit(0).load_state_dict(weights, strict=True)


def test_no_glyph_is_a_digit():
    assert len(set(glyphs.GLYPHS)) == len(glyphs.GLYPHS)
    for glyph in glyphs.GLYPHS:
        assert not any((glyph.isdigit(), glyph.isnumeric(), glyph.isdecimal())), glyph
        assert not unicodedata.category(glyph).startswith("N"), glyph
        assert unicodedata.numeric(glyph, None) is None, glyph
