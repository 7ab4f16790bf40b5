"""Backbones by name."""

from __future__ import annotations

import pytest
import timm
import torch

from cl_prompts.backbones import catalog, weights
from cl_prompts.backbones.architecture import Architecture


def test_every_backbone_of_the_list_exists_and_has_its_tag() -> None:
    assert weights.BACKBONES is catalog.BACKBONES
    assert next(iter(catalog.BACKBONES)) == catalog.EMBEDDED
    others = [name for name in catalog.BACKBONES if name != catalog.EMBEDDED]
    assert all(timm.is_model(name) and "." in name for name in others)


@pytest.mark.parametrize("name", [name for name in catalog.BACKBONES if "." in name])
def test_what_the_list_says_of_a_backbone_is_what_timm_says(name: str) -> None:
    entry, timms = catalog.BACKBONES[name], timm.get_pretrained_cfg(name)
    assert timms.license.split("-license")[0].lower() == entry.licence.lower()
    assert timms.input_size[1] == entry.size
    with torch.device("meta"):
        vit = timm.create_model(name, num_classes=0)
    assert Architecture.of(vit).pools[0] == entry.feature
    n = sum(parameter.numel() for parameter in vit.parameters())
    assert round(n / 1e6, 1) == entry.millions
