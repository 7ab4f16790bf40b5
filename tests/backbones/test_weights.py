"""Weights by name and file, errors of incompatible weights, and normalisation."""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from torch import Tensor

from cl_prompts.backbones.weight_files import load_weights, read_weights
from cl_prompts.backbones.weights import EMBEDDED, create_backbone, normalisation_of
from cl_prompts.errors import InputError
from cl_prompts.prompts.files import read_prompts
from tests.forked import forked
from tests.hub import hub
from tests.toy_vits import tiny_vit

SMALL = "test_vit"  # timm's own tiny ViT for tests: 160 px, patch 16, width 64
SLOW = pytest.mark.slow


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


def test_published_weights_are_known_by_their_content_alone(
    checkpoint: Path, tmp_path: Path
) -> None:
    embedded = create_backbone()
    assert embedded.published
    assert embedded.thawed().published
    with pytest.warns(UserWarning, match="RANDOM"):
        assert not create_backbone(weights="random").published
    assert not create_backbone("test_vit.r160_in1k", weights=checkpoint).published
    state = embedded.vit.state_dict()
    save_file(state, tmp_path / "glyph_vit_tiny.safetensors")  # the same values, in fp32
    assert not create_backbone(weights=tmp_path / "glyph_vit_tiny.safetensors").published
    asset = resources.files("cl_prompts") / "assets" / "glyph_vit_tiny.safetensors"
    (tmp_path / "mine.safetensors").write_bytes(asset.read_bytes())
    assert create_backbone(weights=tmp_path / "mine.safetensors").published


def test_safetensors_and_pth_give_the_same_network(checkpoint: Path, tmp_path: Path) -> None:
    pth = tmp_path / "vit.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in load_file(checkpoint).items()}}, pth)
    images = torch.rand(2, 3, 160, 160)
    a, b = (create_backbone(SMALL, weights=path)(images) for path in (checkpoint, pth))
    assert torch.equal(a, b)
    # Two networks in one file: neither replaces the other.
    torch.save({"module.norm.bias": torch.ones(2), "norm.bias": torch.zeros(2)}, pth)
    assert read_weights(pth).keys() == {"module.norm.bias", "norm.bias"}


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


def test_google_npz_is_read(tmp_path: Path) -> None:
    vit = timm.create_model(SMALL, pretrained=False)
    state = {k: v.numpy() for k, v in vit.state_dict().items()}
    dim = vit.embed_dim
    heads = vit.blocks[0].attn.num_heads
    flax = {
        "cls": state["cls_token"],
        "embedding/kernel": state["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "Transformer/posembed_input/pos_embedding": state["pos_embed"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
    }
    for i in range(len(vit.blocks)):
        to = f"Transformer/encoderblock_{i}/"
        block = {k.split(".", 2)[2]: v for k, v in state.items() if k.startswith(f"blocks.{i}.")}
        for n in (1, 2):
            flax |= {
                f"{to}LayerNorm_{2 * n - 2}/scale": block[f"norm{n}.weight"],
                f"{to}LayerNorm_{2 * n - 2}/bias": block[f"norm{n}.bias"],
            }
            flax |= {
                f"{to}MlpBlock_3/Dense_{n - 1}/kernel": block[f"mlp.fc{n}.weight"].T,
                f"{to}MlpBlock_3/Dense_{n - 1}/bias": block[f"mlp.fc{n}.bias"],
            }
        attention = f"{to}MultiHeadDotProductAttention_1/"
        for j, part in enumerate(("query", "key", "value")):
            rows = slice(j * dim, (j + 1) * dim)
            flax[f"{attention}{part}/kernel"] = block["attn.qkv.weight"][rows].T.reshape(
                dim, heads, dim // heads
            )
            flax[f"{attention}{part}/bias"] = block["attn.qkv.bias"][rows].reshape(
                heads, dim // heads
            )
        flax[f"{attention}out/kernel"] = block["attn.proj.weight"].T.reshape(
            heads, dim // heads, dim
        )
        flax[f"{attention}out/bias"] = block["attn.proj.bias"]
    path = tmp_path / "ViT.npz"
    np.savez(path, **flax)
    loaded = create_backbone(SMALL, weights=path).vit.state_dict()
    for name in (
        "pos_embed",
        "norm.weight",
        "blocks.1.attn.qkv.weight",
        "blocks.0.mlp.fc2.weight",
        "patch_embed.proj.weight",
    ):
        np.testing.assert_allclose(loaded[name].numpy(), state[name], atol=1e-6)
    # Google's ViTs have no layer scale.
    with pytest.raises(InputError, match=r"blocks\.0\.ls1\.gamma in .* has NaN"):
        load_weights(timm.create_model(SMALL, init_values=1e-5), path)


@pytest.mark.slow
def test_the_hub_is_read_through_its_local_cache_or_the_file_to_fetch_is_named(
    tmp_path: Path,
) -> None:
    """A real cache folder as the hub's client lays it out, in a process that stays offline: one
    model is in there, another is not."""
    vit = timm.create_model("vit_tiny_patch16_224.augreg_in21k", pretrained=False)
    torch.nn.init.constant_(vit.norm.bias, 0.25)
    revision = hashlib.sha1(b"revision").hexdigest()
    repository = tmp_path / "models--timm--vit_tiny_patch16_224.augreg_in21k"
    (repository / "snapshots" / revision).mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    save_file(vit.state_dict(), repository / "snapshots" / revision / "model.safetensors")

    def work() -> int:
        constants.HF_HUB_CACHE = str(tmp_path)
        constants.HF_HUB_OFFLINE = True
        warnings.simplefilter("error", UserWarning)
        found = create_backbone("vit_tiny_patch16_224.augreg_in21k", image_size=32)
        print(float(found.vit.norm.bias.sum()))
        create_backbone("vit_small_patch16_224.augreg_in21k", image_size=32)
        return 0

    told = forked(work)
    assert float(told.out) == pytest.approx(192 * 0.25)
    last = told.err.strip().splitlines()[-1]
    assert "InputError: cannot reach the hub" in last
    assert "download model.safetensors of timm/vit_small_patch16_224.augreg_in21k" in last
    assert "weights=FOLDER/model.safetensors" in last


@pytest.mark.parametrize("named", [True, False])
def test_weights_are_the_published_ones_by_the_hash_that_the_hub_names(
    named: bool, checkpoint: Path, tmp_path: Path
) -> None:
    content = checkpoint.read_bytes()
    with hub(tmp_path / "cache") as found:
        found.repositories["timm/test_vit.r160_in1k"] = {"model.safetensors": content}
        found.headers = {"ETag": hashlib.sha256(content).hexdigest() if named else "abc"}
        for _ in range(2):  # fetched, and from the cache
            assert create_backbone("test_vit.r160_in1k").published == named


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch executed",)


def test_refusals(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state = load_file(checkpoint)
    save_file(
        {**{k: v for k, v in state.items() if k != "norm.bias"}, "odd": torch.zeros(1)},
        "keys.safetensors",
    )
    save_file({**state, "blocks.0.mlp.fc1.bias": torch.zeros(3)}, "shape.safetensors")
    torch.save({"model": Evil()}, "evil.pth")
    Path("text.safetensors").write_text("no tensors")
    torch.save([1, 2], "list.pth")
    np.savez("odd.npz", a=np.zeros(3))
    Path("text.npz").write_text("no arrays")
    cases = {
        'Missing key.*"norm.bias".*Unexpected key.*"odd"': {"weights": "keys.safetensors"},
        r"size mismatch for blocks.0.mlp.fc1.bias.*\(\[3\]\)": {"weights": "shape.safetensors"},
        "is not a file of plain tensors.*safetensors": {"weights": "evil.pth"},
        "text.safetensors is not a file of plain tensors": {"weights": "text.safetensors"},
        "has no state_dict": {"weights": "list.pth"},
        "does not fit this ViT as Google's": {"weights": "odd.npz"},
        "text.npz does not fit this ViT as Google's": {"weights": "text.npz"},
        "weight file nowhere.pth does not exist": {"weights": "nowhere.pth"},
        "image size 100 is not a multiple of the 16 px patch.*use 96": {
            "image_size": 100,
            "name": "vit_tiny_patch16_224",
        },
        "image size 30 is not a multiple of the 8 px patch.*use 32": {
            "image_size": 30,
            "name": EMBEDDED,
        },
        "unknown backbone 'vit_tinny_patch16_224': did you mean 'vit_tiny_patch16_224": {
            "name": "vit_tinny_patch16_224"
        },
        "ResNet is not a plain": {"name": "resnet10t"},  # and no look at the hub
        "unknown precision 'fp8': choose from bf16, fp32": {"precision": "fp8"},
        "has no weights on the hub": {"name": EMBEDDED, "weights": "timm"},
        "do not fit this ViT": {"weights": "embedded"},
    }
    for says, arguments in cases.items():
        defaults = {"name": EMBEDDED if arguments.get("precision") else SMALL, "weights": "default"}
        with pytest.raises(InputError, match=says):
            create_backbone(**{**defaults, **arguments})  # type: ignore[arg-type]
    assert not Path("executed").exists()


ODD_TENSORS = {
    "complex": (torch.ones(2, dtype=torch.complex64), "is not a float tensor"),
    "whole numbers": (torch.ones(2, dtype=torch.int8), "is not a float tensor"),
    "infinite in fp32": (torch.tensor([1e300], dtype=torch.float64), "has NaN or infinite"),
    "NaN of 8 bits": (torch.tensor([float("nan")]).to(torch.float8_e4m3fn), "has NaN"),
}


@pytest.mark.parametrize(("value", "says"), ODD_TENSORS.values(), ids=ODD_TENSORS)
def test_tensors_that_are_no_plain_numbers_are_refused(
    value: Tensor, says: str, tmp_path: Path
) -> None:
    torch.save({"weight": value}, tmp_path / "weights.pth")
    with pytest.raises(InputError, match=f"weight in .*weights.pth {says}"):
        read_weights(tmp_path / "weights.pth")
    with pytest.raises(InputError, match=f"cannot read prompts from .*weights.pth: .* {says}"):
        read_prompts(tmp_path / "weights.pth", "weight")


def test_normalisation_settings() -> None:
    vit = tiny_vit().vit
    assert normalisation_of("none", vit) == ((0.0,) * 3, (1.0,) * 3)
    vit.pretrained_cfg = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}
    assert normalisation_of("checkpoint", vit) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert normalisation_of([[0, 0, 0], [2, 2, 2]], vit)[1] == (2.0, 2.0, 2.0)
    numbers = [[1, 2], [3, 4]], [[0, 0, 0], [1, 0, 1]], [[math.inf] * 3, [1] * 3]
    for bad in ("imagnet", *numbers, None, [0.5, 0.5], [["0"] * 3, ["1"] * 3], np.ones((2, 3))):
        with pytest.raises(InputError, match="normalisation"):
            normalisation_of(bad, vit)  # type: ignore[arg-type]
