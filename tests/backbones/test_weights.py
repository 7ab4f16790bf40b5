"""Weights by name and file, errors of incompatible weights, and normalisation."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from cl_prompts.backbones import catalog, weights
from cl_prompts.backbones.architecture import Architecture
from cl_prompts.backbones.weights import EMBEDDED, create_backbone, normalisation_of
from cl_prompts.errors import InputError
from tests.toy_vits import tiny_vit

SMALL = "test_vit"  # timm's own tiny ViT for tests: 160 px, patch 16, width 64


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(5)
    path = tmp_path / "vit.safetensors"
    save_file(timm.create_model(SMALL, pretrained=False).state_dict(), path)
    return path


def test_the_embedded_vit_loads_and_resizes() -> None:
    backbone = create_backbone()
    assert (backbone.image_size, backbone.dim, backbone.depth) == (32, 128, 6)
    assert create_backbone(image_size=48).n_tokens == 37
    assert torch.isfinite(backbone(torch.rand(2, 3, 32, 32))).all()


def test_safetensors_and_pth_give_the_same_network(checkpoint: Path, tmp_path: Path) -> None:
    pth = tmp_path / "vit.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in load_file(checkpoint).items()}}, pth)
    images = torch.rand(2, 3, 160, 160)
    a, b = (create_backbone(SMALL, weights=path)(images) for path in (checkpoint, pth))
    assert torch.equal(a, b)


def test_positions_are_resampled_by_timm(checkpoint: Path) -> None:
    backbone = create_backbone(SMALL, weights=checkpoint, image_size=96)
    want = timm.layers.resample_abs_pos_embed(
        load_file(checkpoint)["pos_embed"], new_size=[6, 6], num_prefix_tokens=1
    )
    torch.testing.assert_close(backbone.vit.pos_embed, want)


def test_random_weights_warn_and_depend_on_their_seed_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.warns(UserWarning, match="RANDOM"):
        first = create_backbone(SMALL, weights="random", seed=1)
    torch.manual_seed(123)
    state = torch.get_rng_state()
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda _: pytest.fail("a GPU was seeded"))
    with pytest.warns(UserWarning, match="RANDOM"):
        second, third = (create_backbone(SMALL, weights="random", seed=s) for s in (1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.vit.patch_embed.proj.weight, second.vit.patch_embed.proj.weight)
    assert not torch.equal(first.vit.patch_embed.proj.weight, third.vit.patch_embed.proj.weight)


def test_without_the_hub_the_file_to_fetch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown_host(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(weights.socket, "getaddrinfo", unknown_host)
    says = "cannot reach the hub .* download model.safetensors of timm/test_vit.r160_in1k by hand"
    with pytest.raises(InputError, match=says):
        create_backbone("test_vit.r160_in1k")


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch executed",)


def test_refusals(checkpoint: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = load_file(checkpoint)
    save_file(
        {**{k: v for k, v in state.items() if k != "norm.bias"}, "odd": torch.zeros(1)},
        "keys.safetensors",
    )
    save_file({**state, "blocks.0.mlp.fc1.bias": torch.zeros(3)}, "shape.safetensors")
    torch.save({"model": Evil()}, "evil.pth")
    Path("text.safetensors").write_text("no tensors")
    torch.save([1, 2], "list.pth")
    torch.save({"teacher": state}, "teacher.pth")
    cases = {
        'Missing key.*"norm.bias".*Unexpected key.*"odd"': {"weights": "keys.safetensors"},
        r"size mismatch for blocks.0.mlp.fc1.bias.*\(\[3\]\)": {"weights": "shape.safetensors"},
        "is not a file of plain tensors.*safetensors": {"weights": "evil.pth"},
        "text.safetensors is not a file of plain tensors": {"weights": "text.safetensors"},
        "list.pth is not a file of plain tensors": {"weights": "list.pth"},
        "teacher.pth is not a file of plain tensors": {"weights": "teacher.pth"},
        "weight file nowhere.pth does not exist": {"weights": "nowhere.pth"},
        "image size 100 is not a multiple of the 16 px patch.*use 96": {
            "image_size": 100,
            "name": "vit_tiny_patch16_224",
        },
        "image size 30 is not a multiple of the 8 px patch.*use 32": {
            "image_size": 30,
            "name": EMBEDDED,
        },
        "image size 99999999 is too large: use at most 2048": {"image_size": 99999999},
        "image size 2056 is too large: use": {"image_size": 2056, "name": EMBEDDED},
        "unknown backbone 'vit_tinny_patch16_224': did you mean 'vit_tiny_patch16_224": {
            "name": "vit_tinny_patch16_224"
        },
        "unknown backbone 'test_vit.r161': did you mean 'test_vit.r160": {"name": "test_vit.r161"},
        "ResNet is not a plain": {"name": "resnet10t"},  # and no look at the hub
        "unknown precision 'fp8': choose from bf16, fp32": {"precision": "fp8"},
        "has no weights on the hub": {"name": EMBEDDED, "weights": "timm"},
    }
    for says, arguments in cases.items():
        defaults = {"name": EMBEDDED if arguments.get("precision") else SMALL, "weights": "default"}
        with pytest.raises(InputError, match=says):
            create_backbone(**{**defaults, **arguments})
    assert not Path("executed").exists()


def test_normalisation_settings() -> None:
    vit = tiny_vit().vit
    assert normalisation_of("none", vit) == ((0.0,) * 3, (1.0,) * 3)
    vit.pretrained_cfg = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}
    assert normalisation_of("checkpoint", vit) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert normalisation_of([[0, 0, 0], [2, 2, 2]], vit)[1] == [2.0, 2.0, 2.0]
    numbers = [[1, 2], [3, 4]], [[math.inf] * 3, [1] * 3]
    for bad in ("imagnet", *numbers, None, [0.5, 0.5], [["0"] * 3, ["1"] * 3], np.ones((2, 3))):
        with pytest.raises(InputError, match="normalisation"):
            normalisation_of(bad, vit)


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
