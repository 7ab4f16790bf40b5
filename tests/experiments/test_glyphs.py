"""Rendered glyphs: no digit among them, and augmented batches of them."""

from __future__ import annotations

import re
import unicodedata

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cl_prompts.errors import InputError
from cl_prompts.experiments import glyphs


def test_no_glyph_is_a_digit():
    assert len(set(glyphs.GLYPHS)) == len(glyphs.GLYPHS)
    for glyph in glyphs.GLYPHS:
        assert not any((glyph.isdigit(), glyph.isnumeric(), glyph.isdecimal())), glyph
        assert not unicodedata.category(glyph).startswith("N"), glyph
        assert unicodedata.numeric(glyph, None) is None, glyph


def test_rendered_glyphs_are_light_on_dark_and_fill_the_same_box(two_glyphs):
    for ink in two_glyphs.images[:, 0] > 127:
        rows, columns = ink.any(1).sum(), ink.any(0).sum()
        assert max(rows, columns) == pytest.approx(glyphs.INK_SIZE, abs=2)
        assert not ink[0].any()
        assert ink.float().mean() < 0.5


@settings(max_examples=15)
@given(size=st.integers(1, 9), seed=st.integers(0, 2**32))
def test_batches_are_grey_pictures_with_matching_labels(two_glyphs, size, seed):
    images, labels = glyphs.draw_batch(two_glyphs, size, torch.Generator().manual_seed(seed))
    assert images.shape == (size, 3, 32, 32)
    assert images.min() >= 0
    assert images.max() <= 1
    assert torch.equal(images[:, 0], images[:, 1])
    assert torch.equal(images[:, 0], images[:, 2])
    assert labels.shape == (size,)
    assert set(labels.tolist()) <= {0, 1}


def test_folder_without_fonts_is_refused(tmp_path):
    with pytest.raises(
        InputError,
        match=r"no \.ttf or \.otf font with the glyphs AB in .*" + re.escape(tmp_path.name),
    ):
        glyphs.find_fonts("AB", (tmp_path,))


def test_broken_font_file_is_named(tmp_path):
    (tmp_path / "broken.ttf").write_bytes(b"not a font")
    with pytest.raises(InputError, match=r"font file .*broken\.ttf cannot be read"):
        glyphs.find_fonts("AB", (tmp_path,))


def test_font_that_draws_nothing_is_refused(two_glyphs):
    with pytest.raises(InputError, match=r"DejaVuSans\.ttf draws nothing for ' '"):
        glyphs.render(" ", two_glyphs.fonts[0])
