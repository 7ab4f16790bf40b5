"""Everything at toy size: ViTs, data sets, a stream of every scenario, and every strategy.

A new strategy needs one row in :data:`TABLE`; the families of tests in ``tests/families`` are
parametrised over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.utils.data import Dataset

from cl_prompts import scenarios
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.models.compiled import splits_passes
from cl_prompts.strategies import strategy_class

# ---------------------------------------------------------------------------------------- backbones

#: The oldest torch that pyproject.toml allows, with releases of timm and torchvision of its time:
#: random weights and the rounding of resized images differ.
OLD_TORCH = torch.__version__.startswith("2.4.")
#: for tests of code that is compiled as one graph
one_graph = pytest.mark.skipif(splits_passes(), reason="this torch compiles a pass in pieces")

DEPTH = 4
TINY: dict[str, Any] = {
    "img_size": 16,
    "patch_size": 8,
    "embed_dim": 16,
    "depth": DEPTH,
    "num_heads": 2,
    "num_classes": 0,
}


#: further shapes of a plain ViT, by what is special about them
VIT_VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "registers": {"reg_tokens": 3},
    "no_embed_class": {"no_embed_class": True},
    "dynamic_img_size": {"dynamic_img_size": True},
    "layer_scale": {"init_values": 0.3},
    "qk_norm": {"qk_norm": True},
    "pre_norm": {"pre_norm": True},
    "no_qkv_bias": {"qkv_bias": False},
}


def tiny_vit(**changes: Any) -> FrozenViT:
    """A random frozen ViT of 16 px, 4 patches, width 16 and 4 blocks."""
    return FrozenViT(_random_vit(lively=False, **changes))


def lively_vit(**changes: Any) -> FrozenViT:
    """Like :func:`tiny_vit`, with weights so large that features tell images apart and attention is
    not flat."""
    return FrozenViT(_random_vit(lively=True, **changes))


def empty_vit_b() -> FrozenViT:
    """ViT-B/16 without values, on the meta device: enough to count its work."""
    # Older releases of timm read values while they build, so that they do not build on "meta".
    with torch.device("cpu" if OLD_TORCH else "meta"):
        vit = VisionTransformer(num_classes=0, weight_init="skip")
    return FrozenViT(vit).to("meta")


def _random_vit(*, lively: bool, **changes: Any) -> VisionTransformer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vit = VisionTransformer(**{**TINY, **changes})
        for name, parameter in vit.named_parameters():
            if parameter.dim() == 1:  # LayerScale and biases away from their trivial initial values
                mean = 1.0 if "norm" in name and "weight" in name else 0.0
                torch.nn.init.normal_(parameter, mean=mean, std=0.2)
            elif lively and name.endswith("weight"):
                torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return vit


# ---------------------------------------------------------------------------------------- data sets

N_CLASSES = 6


class Blobs(Dataset[Any]):
    """Images whose class is a colour pattern, which a head on a random ViT can learn.

    ``reads`` counts the images read.
    """

    def __init__(
        self, n: int, n_classes: int = N_CLASSES, *, seed: int = 0, size: int = 16
    ) -> None:
        rng = np.random.default_rng(seed)
        patterns = np.random.default_rng(99).random((n_classes, 3, size, size))
        self.targets = np.arange(n, dtype=np.int64) % n_classes
        rng.shuffle(self.targets)
        noise = rng.random((n, 3, size, size))
        self.images = torch.from_numpy(0.8 * patterns[self.targets] + 0.2 * noise).float()
        self.reads = 0

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.reads += 1
        return self.images[index], int(self.targets[index])


class Scenes(Dataset[Any]):
    """Images of two coloured halves, each colour a class, so with one or two labels."""

    def __init__(self, n: int, n_classes: int = N_CLASSES, *, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        colours = np.random.default_rng(7).random((n_classes, 3))
        self.targets = np.zeros((n, n_classes), dtype=np.uint8)
        images = np.full((n, 3, 16, 16), 0.5)
        for i in range(n):
            for place, c in enumerate(rng.permutation(n_classes)[: rng.integers(1, 3)]):
                self.targets[i, c] = 1
                images[i, :, :, 8 * place : 8 * place + 8] = colours[c][:, None, None]
        self.images = torch.from_numpy(images + 0.05 * rng.random(images.shape)).float()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], torch.from_numpy(self.targets[index].astype(np.float32))


class Riddles(Dataset[Any]):
    """Images that a linear head on :func:`lively_vit` half understands, and prompts on it do.

    Classes 2 p and 2 p + 1 share a background p and two marks, one in the left half and one in the
    right, each drawn as it is or inverted. The marks of an even class agree, those of an odd one do
    not: the exclusive or, which no linear function of the marks can tell.
    """

    def __init__(
        self, n: int, n_classes: int = N_CLASSES, *, seed: int = 0, size: int = 16
    ) -> None:
        rng, fixed, half = np.random.default_rng(seed), np.random.default_rng(7), size // 2
        backgrounds = fixed.random((n_classes // 2, 3, size, size))
        marks = fixed.normal(size=(n_classes // 2, 3, size, size))
        self.targets = np.arange(n, dtype=np.int64) % n_classes
        rng.shuffle(self.targets)
        sides = np.ones((n, 1, 1, size))
        left = rng.integers(0, 2, n) * 2 - 1
        right = np.where(self.targets % 2 == 0, left, -left)
        sides[..., :half] = left[:, None, None, None]
        sides[..., half:] = right[:, None, None, None]
        pair = self.targets // 2
        images = 0.25 + 0.5 * backgrounds[pair] + 0.2 * sides * marks[pair]
        images += 0.1 * rng.normal(size=(n, 3, size, size))
        self.images = torch.from_numpy(images).float().clamp(0, 1)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.targets[index])


# ---------------------------------------------------------------------------------------- scenarios

TRAIN, TEST, TASKS = 72, 30, 3

#: scenario -> its benchmark on given data
BENCHMARKS: dict[str, Callable[..., Any]] = {
    "si_blurry": lambda train, test: scenarios.si_blurry_benchmark(
        train, test, n_tasks=TASKS, seed=3
    ),
    "i_blurry": lambda train, test: scenarios.i_blurry_benchmark(
        train, test, n_tasks=TASKS, seed=3
    ),
    "disjoint": lambda train, test: scenarios.disjoint_benchmark(train, test, n_tasks=TASKS),
    "class_incremental": lambda train, test: scenarios.class_incremental_benchmark(
        train, test, n_tasks=TASKS
    ),
    "mlcil": lambda train, test: scenarios.mlcil_benchmark(train, test, protocol="B0-C2"),
    "si_blurry_multi_label": lambda train, test: scenarios.si_blurry_multi_label_benchmark(
        train, test, n_tasks=TASKS
    ),
}
MULTI_LABEL_SCENARIOS = ("mlcil", "si_blurry_multi_label")
#: those that announce the boundaries of their tasks
ANNOUNCED = ("class_incremental", "mlcil")


def benchmark(scenario: str = "si_blurry", *, train: int = TRAIN, test: int = TEST) -> Any:
    """A fresh benchmark of a scenario: so many training and test images of 6 classes in 3 tasks."""
    data = Scenes if scenario in MULTI_LABEL_SCENARIOS else Blobs
    return BENCHMARKS[scenario](data(train, seed=1), data(test, seed=2))


def experiences(scenario: str = "si_blurry", *, train: int = TRAIN, test: int = TEST) -> list[Any]:
    """The experiences of a fresh training stream."""
    return list(benchmark(scenario, train=train, test=test).train_stream)


# --------------------------------------------------------------------------------------- strategies

#: forwards of ViT-B/16: an image in training, the same with its backward pass, a test image, and a
#: test image of which everything is cached that can be
VitBCost = tuple[float, float, float, float]
HEAD: VitBCost = (0.94, 0.94, 0.94, 0.0)
FULL: VitBCost = (0.94, 2.80, 0.94, 0.94)
POOL: VitBCost = (1.84, 2.79, 1.84, 0.94)

ADDITIVE: VitBCost = (0.94, 1.88, 0.94, 0.94)


@dataclass(frozen=True)
class Toy:
    """A row of the table: a strategy at toy size, and what it promises to cost.

    Attributes:
        learns: prompts (and a head); weights, of a head alone or the whole ViT; prototypes, without
            a gradient; or adapters and prototypes.
        vit_b: cost with ViT-B/16.
        options: that fit the tiny ViT and its short streams.
        strategy: name in recipes, where it is not the row's.
        passes: blocks of the tiny ViT that a training image passes through.
        first_test: blocks that a test image passes through in the first evaluation; None: as many
            as a training image.
        retest: and from the second evaluation on.
        unasked: passes of each stream sample besides those of the updates.
        shown: images that an update shows, of 8 stream samples and 4 from a full buffer.
        two_blocks: further options for a ViT of two blocks and one patch.
    """

    learns: Literal["prompts", "weights", "prototypes", "adapters"]
    vit_b: VitBCost
    options: dict[str, Any] = field(default_factory=dict)
    strategy: str = ""
    passes: int = DEPTH
    first_test: int | None = None
    retest: int = DEPTH
    unasked: int = 0
    shown: int = 12
    two_blocks: dict[str, Any] = field(default_factory=dict)

    def but(self, strategy: str, **changes: Any) -> Toy:
        """A variant of this row for the same strategy."""
        names = ("passes", "first_test", "retest", "unasked", "shown", "two_blocks")
        costs = {name: changes.pop(name) for name in names if name in changes}
        kept = {name: getattr(self, name) for name in names}
        options = {**self.options, **changes}
        return Toy(self.learns, self.vit_b, options, strategy, **{**kept, **costs})


EARLY = (0, 1, 2, 3)
BUFFER: dict[str, Any] = {"buffer_size": 12, "buffer_batch_size": 8}
QUERY_PASS = {"passes": 2 * DEPTH}
ALIGNED: dict[str, Any] = {"period": 24, "align_epochs": 2, "align_samples": 8}
RATES = {"lr": 0.005, "prompt_lr": 0.01, "identity_lr": 0.005}
ONE_BLOCK = {"two_blocks": {"prompted_blocks": (0,)}}

#: strategy -> its row; how many tasks there are is told by :func:`make`, as the runner does
TABLE: dict[str, Toy] = {
    "mvp": Toy(
        "prompts",
        (1.76, 2.71, 1.76, 0.94),
        {"pool_size": 4, "g_length": 2, "e_blocks": (1, 2), "e_length": 3},
        passes=2 * DEPTH - 1,  # the query is read before the last block
        two_blocks={"g_blocks": (0,), "e_blocks": (1,)},
    ),
    "multi_lane": Toy(
        "prompts",
        (0.95, 0.96, 0.95, 0.0),
        {"n_selectors": 2, "prompt_length": 2, "prompted_blocks": (0, 1), "lane_samples": 30},
        retest=0,  # as long as no lane moves
        two_blocks={"prompted_blocks": (0,), "lane_samples": 10_000},
    ),
    "l2p": Toy(
        "prompts",
        (1.97, 3.06, 1.97, 1.07),
        {"pool_size": 4, "prompt_length": 2, "top_k": 2},
        **QUERY_PASS,
    ),
    "dual_prompt": Toy(
        "prompts",
        POOL,
        {"g_blocks": (0,), "g_length": 2, "e_blocks": (1, 2, 3), "e_length": 4},
        two_blocks={"e_blocks": (1,)},
        **QUERY_PASS,
    ),
    "coda_prompt": Toy(
        "prompts",
        POOL,
        {"n_components": 9, "prompted_blocks": EARLY, "prompt_length": 8},
        **QUERY_PASS,
        **ONE_BLOCK,
    ),
    "s_prompt": Toy(
        "prompts", POOL, {"prompted_blocks": EARLY, "prompt_length": 4}, **QUERY_PASS, **ONE_BLOCK
    ),
    "one_prompt": Toy(
        "prompts",
        (0.94, 1.88, 0.94, 0.94),
        {"prompted_blocks": EARLY, "prompt_length": 4},
        **ONE_BLOCK,
    ),
    "single_prompt": Toy(
        "prompts",
        (0.94, 1.88, 0.94, 0.94),
        {"prompted_blocks": EARLY, "prompt_length": 4},
        **ONE_BLOCK,
    ),
    "misa": Toy(
        "prompts",
        (1.85, 2.80, 1.85, 0.95),
        {"g_blocks": (0,), "g_length": 2, "e_blocks": (1, 2), "e_length": 3},
        two_blocks={"e_blocks": (1,)},
        **QUERY_PASS,
    ),
    "flyprompt": Toy(
        "prompts",
        (0.94, 1.89, 1.85, 0.95),
        {
            "n_experts": 3,
            "period": 24,
            "prompted_blocks": EARLY,
            "prompt_length": 4,
            "router_width": 40,
            "router_ridge": 1.0,
        },
        first_test=2 * DEPTH,
        unasked=1,
        **ONE_BLOCK,
    ),
    "vq_prompt": Toy(
        "prompts",
        POOL,
        {"pool_size": 4, "prompted_blocks": EARLY, "prompt_length": 4, **ALIGNED},
        **QUERY_PASS,
        **ONE_BLOCK,
    ),
    "smope": Toy(
        "prompts",
        (0.94, 1.88, 0.94, 0.94),
        {"n_experts": 4, "top_k": 2, "prompted_blocks": EARLY, **ALIGNED},
        two_blocks={"prompted_blocks": (0,), "period": 10_000},
    ),
    "hide_prompt": Toy(
        "prompts",
        POOL,
        {"prompted_blocks": EARLY, "prompt_length": 4, **RATES, **ALIGNED},
        two_blocks={"prompted_blocks": (0,), "period": 10_000},
        **QUERY_PASS,
    ),
    "norga": Toy(
        "prompts",
        POOL,
        {"prompted_blocks": EARLY, "prompt_length": 4, **RATES, **ALIGNED},
        two_blocks={"prompted_blocks": (0,), "period": 10_000},
        **QUERY_PASS,
    ),
    "additive_prompt": Toy("prompts", ADDITIVE),
    "linear_probe": Toy("weights", HEAD, retest=0),
    "fine_tuning": Toy("weights", FULL, {"backbone_lr": 1e-3}),
    "er": Toy("weights", HEAD, BUFFER, retest=0),
    "derpp": Toy("weights", HEAD, BUFFER, retest=0, shown=16),
    "ewcpp": Toy("weights", HEAD, {**BUFFER, "period": 40}, retest=0),
    "lwf": Toy("weights", HEAD, {"period": 40}, retest=0),
    "rainbow": Toy(
        "weights",
        HEAD,
        {**BUFFER, "period": 40, "rehearsal_epochs": 2},
        retest=0,
        two_blocks={"rehearsal_epochs": 1},
    ),
    "clib": Toy("weights", HEAD, BUFFER, retest=0, shown=4),
    "joint": Toy("weights", FULL, {"train_epochs": 2}),
    "joint_probe": Toy("weights", HEAD, {"train_epochs": 2}, retest=0),
    "ncm": Toy("prototypes", HEAD, retest=0),
    "slda": Toy("prototypes", HEAD, retest=0),
    "ranpac": Toy("prototypes", HEAD, {"projection": 40, "ridge": 3.0, "held_out": 10}, retest=0),
    "gacl": Toy("prototypes", HEAD, {"projection": 40, "ridge": 0.3}, retest=0),
    "air": Toy("prototypes", HEAD, {"projection": 40, "ridge": 0.3}, retest=0),
    "aper": Toy(
        "adapters",
        (0.95, 1.85, 1.85, 0.0),
        {"boundaries": True, "bottleneck": 3},
        first_test=2 * DEPTH,
        retest=0,
    ),
    "ease": Toy(
        "adapters",
        (0.95, 1.85, 0.95, 0.0),
        {"boundaries": True, "bottleneck": 3, "n_tasks": TASKS},
        first_test=TASKS * DEPTH,
        retest=0,
    ),
    "multi_label_ridge": Toy("prototypes", HEAD, {"ridge": 1.0}, retest=0),
    "l3a": Toy("prototypes", HEAD, {"width": 40, "ridge": 0.3, "period": 24}, retest=0),
}

#: further settings that the families hold for
VARIANTS: dict[str, Toy] = {
    "mvp_r": TABLE["mvp"].but("mvp", buffer_size=12),
    "mvp_plain": TABLE["mvp"].but(
        "mvp", use_mask=False, use_contrastive=False, use_afs=False, use_gsf=False
    ),
    "mvp_published": TABLE["mvp"].but(
        "mvp",
        gsf_reduction="batch_mean",
        contrastive_pairs="all",
        use_last_block=True,
        passes=2 * DEPTH,
    ),
    "l2p_slots": TABLE["l2p"].but("l2p", key_choice="slots", copy_keys=True),
    "l2p_diverse": TABLE["l2p"].but("l2p", key_choice="diverse"),
    "dual_prompt_r": TABLE["dual_prompt"].but("dual_prompt", **BUFFER),
    "er_tuned": TABLE["er"].but("er", backbone_lr=1e-3, retest=DEPTH),
    "lwf_batch": TABLE["lwf"].but("lwf", teacher_from="batch"),
    "lwf_tuned": TABLE["lwf"].but("lwf", backbone_lr=1e-3, retest=DEPTH),
    "rainbow_tuned": TABLE["rainbow"].but("rainbow", backbone_lr=1e-3, retest=DEPTH),
    "rainbow_chosen": TABLE["rainbow"].but(
        "rainbow", buffer_choice="uncertainty", uncertainty_views=2, reuse_features=True
    ),
    "ridge_chosen": TABLE["multi_label_ridge"].but("multi_label_ridge", held_out=10, period=40),
    "clib_tuned": TABLE["clib"].but("clib", backbone_lr=1e-3, importance_every=4, retest=DEPTH),
    "linear_probe_whitened": TABLE["linear_probe"].but(
        "linear_probe", head_input="whitened", head="cosine"
    ),
    "dual_prompt_standardised": TABLE["dual_prompt"].but(
        "dual_prompt", head_input="standardised", head="cosine", tau=None
    ),
    "mvp_r_whitened": TABLE["mvp"].but(
        "mvp",
        buffer_size=12,
        class_mask="batch",
        head_input="whitened",
        whitening_replayed=False,
    ),
    "dual_prompt_written": TABLE["dual_prompt"].but(
        "dual_prompt",
        prompt_encoder="mlp",
        encoder_width=4,
        decomposed="entry",
        decomposed_rank=2,
        period=24,
    ),
    "one_prompt_written": TABLE["one_prompt"].but(
        "one_prompt",
        prompt_encoder="lstm",
        decomposed="shared",
        decomposed_rank=2,
        prompt_lr=0.01,
        period=24,
    ),
    "vq_prompt_regulated": TABLE["vq_prompt"].but(
        "vq_prompt", regulation="promptsrc", head="cosine", regulation_classes=1.0
    ),
    "s_prompt_averaged": TABLE["s_prompt"].but("s_prompt", average_checkpoints=2, period=24),
    "multi_lane_batch": TABLE["multi_lane"].but("multi_lane", class_mask="batch"),
    "derpp_batch": TABLE["derpp"].but("derpp", class_mask="batch", head_input="centred"),
    "lwf_whitened": TABLE["lwf"].but("lwf", head_input="whitened", whitening_window=50),
    "rainbow_whitened": TABLE["rainbow"].but(
        "rainbow", reuse_features=True, class_mask="batch", head_input="whitened"
    ),
    "s_prompt_routed": TABLE["s_prompt"].but(
        "s_prompt",
        chosen_by="router",
        router_width=40,
        router_ridge=1.0,
        period=24,
        passes=DEPTH,
        first_test=2 * DEPTH,
        unasked=1,
    ),
    "flyprompt_cosine": TABLE["flyprompt"].but("flyprompt", head="cosine", buffer_size=12),
    "dual_prompt_slow": TABLE["dual_prompt"].but("dual_prompt", slow_heads=(0.5, 0.9)),
    "clib_whitened": TABLE["clib"].but("clib", head_input="whitened", head="cosine"),
}
ALL: dict[str, Toy] = {**TABLE, **VARIANTS}


#: both, for ``parametrize``: ``make quick`` leaves the variants out
EVERY = [*TABLE, *(pytest.param(kind, marks=pytest.mark.slow) for kind in VARIANTS)]


def cls_of(kind: str) -> Any:
    """The class of a row."""
    return strategy_class(ALL[kind].strategy or kind)


def _names(condition: Callable[[str], bool], table: Iterable[str] = TABLE) -> tuple[str, ...]:
    return tuple(kind for kind in table if condition(kind))


PROMPTED = _names(lambda kind: ALL[kind].learns == "prompts")
PROTOTYPES = _names(lambda kind: ALL[kind].learns == "prototypes")
ADAPTED = _names(lambda kind: ALL[kind].learns == "adapters")
#: those that hold samples in a buffer
REPLAYING = _names(lambda kind: "buffer_size" in ALL[kind].options, ALL)
#: those with a multi-label form
MULTI_LABEL = _names(
    lambda kind: (
        "multi_label" in cls_of(kind).settings()
        and ALL[kind].options.get("class_mask") != "batch"
        and not ALL[kind].options.get("slow_heads")
    ),
    ALL,
)
#: prompts, chosen for each image or not, in a pool of :class:`~cl_prompts.models.prompted`
POOLS = tuple(kind for kind in PROMPTED if kind not in ("mvp", "multi_lane"))


def learnable(kind: str, scenario: str) -> bool:
    """Whether the strategy is defined for the scenario's labels."""
    return scenario not in MULTI_LABEL_SCENARIOS or kind in MULTI_LABEL


def cases(*names: str, but: Callable[[Any], bool] = lambda cls: False) -> list[Any]:
    """(kind, scenario) for ``parametrize``, wherever the one is defined for the other.

    ``make quick`` takes the first scenario of each strategy, and no variant.

    Args:
        names: scenarios.
        but: classes to leave out.
    """
    chosen = []
    begun = set(VARIANTS)
    for scenario in names:
        for kind in ALL:
            if learnable(kind, scenario) and not but(cls_of(kind)):
                marks = [pytest.mark.slow] if kind in begun else []
                chosen.append(pytest.param(kind, scenario, marks=marks))
                begun.add(kind)
    return chosen


def make(
    kind: str, scenario: str = "si_blurry", *, backbone: FrozenViT | None = None, **changes: Any
) -> Any:
    """A strategy of the table as the runner would build it for a scenario."""
    torch.manual_seed(0)
    cls = cls_of(kind)
    accepted = cls.settings()
    told: dict[str, Any] = {
        "train_mb_size": 16,
        "eval_mb_size": 32,
        "device": "cpu",
        "evaluator": None,
    }
    told |= {} if cls.whole_stream else {"train_epochs": 1, "online_iter": 2}
    if "multi_label" in accepted:
        told["multi_label"] = scenario in MULTI_LABEL_SCENARIOS
    if "n_tasks" in accepted and scenario in ANNOUNCED:
        told["n_tasks"] = TASKS
    if "model" not in changes:
        told |= {"backbone": backbone or lively_vit(), "n_classes": N_CLASSES}
    return cls(**{**told, **ALL[kind].options, **changes})


def on_two_blocks(kind: str) -> dict[str, Any]:
    """Settings for a ViT of two blocks, on which prompts do as much at half the cost."""
    fitting = {k: v for k, v in ALL[kind].two_blocks.items() if k.endswith("blocks")}
    return {"backbone": lively_vit(depth=2), **fitting}


def fit(strategy: Any, stream: Iterable[Any]) -> Any:
    """Train on a stream: one experience after the other, or all at once where the strategy wants
    them so."""
    parts = list(stream)
    for part in [parts] if strategy.whole_stream else parts:
        strategy.train(part, eval_streams=[])
    return strategy


def weights(strategy: Any) -> dict[str, Tensor]:
    """A copy of the model's whole state."""
    return {name: value.clone() for name, value in strategy.model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether two states are equal bit for bit."""
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) for name, value in first.items()
    )


def watch(strategy: Any, method: str, note: Callable[..., Any]) -> None:
    """Call ``note`` with the arguments of a strategy's method just before it runs."""
    original = getattr(strategy, method)

    def watched(*given: Any, **named: Any) -> Any:
        note(*given, **named)
        return original(*given, **named)

    setattr(strategy, method, watched)


def close(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    """Assert that two states agree but for rounding."""
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-3, atol=1e-4, msg=name)


def accuracy(model: Any, data: Dataset[Any]) -> float:
    """Share of a single-label data set that a model classifies correctly."""
    with torch.no_grad():
        found = model.eval()(data.images).argmax(dim=1)  # type: ignore[attr-defined]
    return float((found == torch.from_numpy(data.targets)).float().mean())  # type: ignore[attr-defined]
