"""Backbones by name."""

from __future__ import annotations

import timm

from cl_prompts.backbones import catalog, weights


def test_every_backbone_of_the_list_exists_and_has_its_tag() -> None:
    assert weights.BACKBONES is catalog.BACKBONES
    assert next(iter(catalog.BACKBONES)) == catalog.EMBEDDED
    others = [name for name in catalog.BACKBONES if name != catalog.EMBEDDED]
    assert all(timm.is_model(name) and "." in name for name in others)
