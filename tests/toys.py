"""Every strategy at toy size: the families of tests are parametrised over these rows."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal

import pytest
import torch
from avalanche.training.templates import base
from torch import Tensor
from torch.utils.data import Dataset

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.strategies import make_plugins, strategy_class
from tests.toy_data import ANNOUNCED, MULTI_LABEL_SCENARIOS, N_CLASSES, TASKS
from tests.toy_families import family_vit
from tests.toy_vits import DEPTH, lively_vit

#: Forwards of ViT-B/16 that an image costs: in training, the same with its way back, in a test, and
#: in a test with all that can be cached. 0.94: the last block computes the class token alone; 0.90:
#: a pass for the query, which shares the embedding; the way back to prompts costs a pass.
VitBCost = tuple[float, float, float, float]
#: a head on features, which are cached
HEAD: VitBCost = (0.94, 0.94, 0.94, 0.0)
#: all weights: the pass, and twice as much back
FULL: VitBCost = (0.94, 2.80, 0.94, 0.94)
#: prompts that are the same for all images: the pass, and its way back
ONE_PASS: VitBCost = (0.94, 1.88, 0.94, 0.94)
#: prompts chosen by a query, which has no way back
POOL: VitBCost = (1.84, 2.79, 1.84, 0.94)


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
        vit: class of its ViT, see :data:`~tests.toy_families.FAMILIES`; else a plain one.
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
    vit: str = ""


# To read the signatures of twenty classes takes Avalanche as long as all else about a toy.
_check = base._check_mispelled_kwargs
_checked = cache(lambda cls, names: _check(cls, dict.fromkeys(names)))
base._check_mispelled_kwargs = lambda cls, kwargs: _checked(cls, tuple(kwargs))

EARLY = (0, 1, 2, 3)
BUFFER: dict[str, Any] = {"buffer_size": 12, "buffer_batch_size": 8}
QUERY_PASS = {"passes": 2 * DEPTH}
ALIGNED: dict[str, Any] = {"period": 24, "plugins": {"head_alignment": {"epochs": 2, "samples": 8}}}
RATES = {"lr": 0.005, "prompt_lr": 0.01, "identity_lr": 0.005}
ONE_BLOCK = {"two_blocks": {"prompted_blocks": (0,)}}

#: a plain ViT of 16 patches, of which some may be left out
MORE_PATCHES = "more patches"

#: strategy -> its row; how many tasks there are is told by :func:`make`, as the runner does
TABLE: dict[str, Toy] = {
    "mvp": Toy(
        "prompts",
        (1.76, 2.71, 1.76, 0.94),  # the query is read one block earlier
        {"pool_size": 4, "g_length": 2, "e_blocks": (1, 2), "e_length": 3},
        passes=2 * DEPTH - 1,  # the query is read before the last block
        two_blocks={"g_blocks": (0,), "e_blocks": (1,)},
    ),
    "multi_lane": Toy(
        "prompts",
        (0.95, 0.96, 0.95, 0.0),  # one frozen pass for all lanes, whose few slots go back alone
        {"n_selectors": 2, "prompt_length": 2, "prompted_blocks": (0, 1), "lane_samples": 30},
        retest=0,  # as long as no lane moves
        two_blocks={"prompted_blocks": (0,), "lane_samples": 10_000},
    ),
    "l2p": Toy(
        "prompts",
        (1.97, 3.06, 1.97, 1.07),  # 25 further tokens, which no prefix spares
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
    "cps_prompt": Toy(
        "prompts",
        (1.38, 1.84, 1.84, 0.94),  # prompts pass over half of the patches in training
        {"n_components": 9, "prompted_blocks": EARLY, "prompt_length": 8, "token_temperature": 0.2},
        vit=MORE_PATCHES,
        **QUERY_PASS,
        **ONE_BLOCK,
    ),
    "s_prompt": Toy(
        "prompts", POOL, {"prompted_blocks": EARLY, "prompt_length": 4}, **QUERY_PASS, **ONE_BLOCK
    ),
    "one_prompt": Toy(
        "prompts", ONE_PASS, {"prompted_blocks": EARLY, "prompt_length": 4}, **ONE_BLOCK
    ),
    "single_prompt": Toy(
        "prompts", ONE_PASS, {"prompted_blocks": EARLY, "prompt_length": 4}, **ONE_BLOCK
    ),
    "misa": Toy(
        "prompts",
        (1.85, 2.80, 1.85, 0.95),  # POOL with longer prefixes
        {"g_blocks": (0,), "g_length": 2, "e_blocks": (1, 2), "e_length": 3},
        two_blocks={"e_blocks": (1,)},
        **QUERY_PASS,
    ),
    "flyprompt": Toy(
        "prompts",
        (0.94, 1.89, 1.85, 0.95),  # a query in tests alone: in training the expert is known
        {
            "n_experts": 3,
            "period": 24,
            "prompted_blocks": EARLY,
            "prompt_length": 4,
            "plugins": {"router": {"width": 40, "ridge": 1.0}},
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
        ONE_PASS,
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
    "additive_prompt": Toy("prompts", ONE_PASS),
    "approximated_prompt": Toy(
        "prompts",
        (0.95, 1.90, 0.95, 0.95),  # 50 rows beside each attention
        {"prompt_length": 8, "rank": 2, "prompt_lr": 0.01},
    ),
    "mixture_prompt": Toy("weights", HEAD, {"n_groups": 3, "period": 24}, retest=0),
    "linear_probe": Toy("weights", HEAD, retest=0),
    "fine_tuning": Toy("weights", FULL, {"backbone_lr": 1e-3}),
    "er": Toy("weights", HEAD, BUFFER, retest=0),
    "er_ace": Toy("weights", HEAD, BUFFER, retest=0),
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
    "clib": Toy("weights", HEAD, {**BUFFER, "lr_period": 3}, retest=0, shown=4),
    "joint": Toy("weights", FULL, {"train_epochs": 2}),
    "joint_probe": Toy("weights", HEAD, {"train_epochs": 2}, retest=0),
    "ncm": Toy("prototypes", HEAD, retest=0),
    "slda": Toy("prototypes", HEAD, retest=0),
    "ranpac": Toy("prototypes", HEAD, {"projection": 40, "ridge": 3.0, "held_out": 10}, retest=0),
    "layup": Toy(
        "prototypes", HEAD, {"features": "raw_blocks:2", "ridge": 3.0, "held_out": 10}, retest=0
    ),
    "balanced_ridge": Toy("prototypes", HEAD, {"features": "blocks:2"}, retest=0),
    "recommended": Toy("prototypes", HEAD, retest=0),
    "gacl": Toy("prototypes", HEAD, {"projection": 40, "ridge": 0.3}, retest=0),
    "air": Toy("prototypes", HEAD, {"projection": 40, "ridge": 0.3}, retest=0),
    "klda": Toy("prototypes", HEAD, {"width": 40, "shrinkage": 1e-3}, retest=0),
    "randumb": Toy("prototypes", HEAD, {"width": 40}, retest=0),
    "anacp": Toy("prototypes", HEAD, {"projection": 40, "ridge": 0.3, "samples": 9}, retest=0),
    "fecam": Toy("prototypes", HEAD, retest=0),
    "rda": Toy("prototypes", HEAD, {"rank": 40}, retest=0),
    "aper": Toy(
        "adapters",
        (0.95, 1.85, 1.85, 0.0),  # frozen and adapted pass in tests, both cached
        {"boundaries": True, "bottleneck": 3},
        first_test=2 * DEPTH,
        retest=0,
    ),
    "ease": Toy(
        "adapters",
        (0.95, 1.85, 0.95, 0.0),  # before its second task: one adapted pass
        {"boundaries": True, "bottleneck": 3, "n_tasks": TASKS},
        first_test=TASKS * DEPTH,
        retest=0,
    ),
    "multi_label_ridge": Toy("prototypes", HEAD, {"ridge": 1.0}, retest=0),
    "l3a": Toy("prototypes", HEAD, {"width": 40, "ridge": 0.3, "period": 24}, retest=0),
}


def variant(strategy: str, **changes: Any) -> Toy:
    """The row of a strategy with other options or costs."""
    row = TABLE[strategy]
    costs = {name: changes.pop(name) for name in vars(row).keys() & changes}
    return replace(row, strategy=strategy, options={**row.options, **changes}, **costs)


#: further settings that the families hold for
VARIANTS: dict[str, Toy] = {
    "mvp_r": variant("mvp", buffer_size=12),
    "mvp_published": variant(
        "mvp",
        gsf_reduction="batch_mean",
        contrastive_pairs="all",
        use_last_block=True,
        passes=2 * DEPTH,
    ),
    "l2p_slots": variant("l2p", key_choice="slots", copy_keys=True),
    "l2p_vote": variant("l2p", batchwise_prompt="training"),
    "er_tuned": variant("er", backbone_lr=1e-3, retest=DEPTH),
    "lwf_batch": variant("lwf", plugins={"distillation": {"teacher_from": "batch"}}),
    "lwf_tuned": variant("lwf", backbone_lr=1e-3, retest=DEPTH),
    "rainbow_chosen": variant(
        "rainbow", buffer_choice="uncertainty", uncertainty_views=2, reuse_features=True
    ),
    "klda_members": variant("klda", members=2, form="released"),
    "randumb_class": variant("randumb", covariance="class"),
    "anacp_class": variant("anacp", drawn_from="class", target_space="features"),
    "ridge_chosen": variant("multi_label_ridge", held_out=10, period=40),
    "clib_tuned": variant("clib", backbone_lr=1e-3, importance_every=4, retest=DEPTH),
    "linear_probe_whitened": variant("linear_probe", head={"kind": "cosine", "input": "whitened"}),
    "dual_prompt_standardised": variant(
        "dual_prompt", head={"kind": "cosine", "input": "standardised", "tau": None}
    ),
    "mvp_r_whitened": variant(
        "mvp", buffer_size=12, class_mask="batch", head={"input": "whitened", "replayed": False}
    ),
    "dual_prompt_written": variant(
        "dual_prompt",
        prompt_form={"decomposed": {"rank": 2}, "encoded": {"kind": "mlp", "width": 4}},
        period=24,
    ),
    "one_prompt_written": variant(
        "one_prompt",
        prompt_form={"decomposed": {"rank": 2}, "encoded": {"kind": "lstm"}},
        prompt_lr=0.01,
        period=24,
    ),
    "vq_prompt_regulated": variant(
        "vq_prompt",
        head={"kind": "cosine"},
        plugins={**ALIGNED["plugins"], "self_regulation": {"class_weight": 1.0}},
    ),
    "s_prompt_averaged": variant(
        "s_prompt", plugins={"prompt_averaging": {"checkpoints": 2}}, period=24
    ),
    "multi_lane_batch": variant("multi_lane", class_mask="batch"),
    "derpp_batch": variant("derpp", class_mask="batch", head={"input": "centred"}),
    "lwf_whitened": variant("lwf", head={"input": "whitened", "window": 50}),
    "rainbow_whitened": variant(
        "rainbow", reuse_features=True, class_mask="batch", head={"input": "whitened"}
    ),
    "s_prompt_routed": variant(
        "s_prompt",
        plugins={"router": {"width": 40, "ridge": 1.0}},
        period=24,
        passes=DEPTH,
        first_test=2 * DEPTH,
        unasked=1,
    ),
    "flyprompt_cosine": variant("flyprompt", head={"kind": "cosine"}, buffer_size=12),
    "dual_prompt_slow": variant("dual_prompt", plugins={"slow_heads": {"decays": (0.5, 0.9)}}),
    "linear_probe_blocks": variant(
        "linear_probe", features="blocks:2", head={"kind": "cosine", "input": "whitened"}
    ),
    "l2p_blocks": variant("l2p", features="blocks:2+patches"),
    "hide_prompt_blocks": variant("hide_prompt", features="blocks:half"),
    "single_prompt_slca": variant(
        "single_prompt",
        boundaries=True,
        unasked=1,  # the pass for statistics
        plugins={
            "head_alignment": {
                **ALIGNED["plugins"]["head_alignment"],
                "statistics": "covariance",
                "mean_scale": "task",
                "logit_norm": 0.1,
                "restore": True,
            },
            "symmetric_loss": {"forward_weight": 0.5},
        },
    ),
    "clib_whitened": variant("clib", head={"kind": "cosine", "input": "whitened"}),
    "mvp_tokens": variant("mvp", tokens=0.5, buffer_size=12, vit=MORE_PATCHES),
    "mvp_early": variant("mvp", tokens=0.5, query_block=2, passes=2 + DEPTH, vit=MORE_PATCHES),
    "l2p_tokens": variant("l2p", tokens=0.5, tokens_test="same", vit=MORE_PATCHES),
    "single_prompt_tokens": variant("single_prompt", tokens=0.6, buffer_size=12, vit=MORE_PATCHES),
    "flyprompt_tokens": variant("flyprompt", tokens=0.5, vit=MORE_PATCHES),
    "hide_prompt_tokens": variant("hide_prompt", tokens=0.5, vit=MORE_PATCHES),
    "dual_prompt_tokens": variant(
        "dual_prompt",
        tokens=0.5,
        prompt_form={"decomposed": {"rank": 2}, "encoded": {"kind": "mlp", "width": 4}},
        period=24,
        vit=MORE_PATCHES,
    ),
}
#: class of ViTs -> strategies: one of each way in which prompts enter, in which a feature is read,
#: and in which weights or statistics learn; those left out differ behind the features alone
ON_OTHER_VITS = {
    "dinov3": "mvp multi_lane l2p dual_prompt coda_prompt smope norga hide_prompt additive_prompt"
    " approximated_prompt fine_tuning er recommended multi_label_ridge ease",
    "eva02": "mvp recommended",
    "siglip": "mvp l2p flyprompt recommended gacl ease",
    "reg4_gap": "mvp l2p fine_tuning recommended",
    "aimv2": "dual_prompt recommended",
}
OTHERS = {
    f"{kind}_{vit}": variant(kind, vit=vit)
    for vit, kinds in ON_OTHER_VITS.items()
    for kind in kinds.split()
}
VARIANTS |= OTHERS
ALL: dict[str, Toy] = {**TABLE, **VARIANTS}


def cls_of(kind: str) -> Any:
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
        and "tokens" not in ALL[kind].options
        and "slow_heads" not in ALL[kind].options.get("plugins", ())
    ),
    ALL,
)
#: prompts, chosen for each image or not, in a pool of :class:`~cl_prompts.models.prompted`
POOLS = tuple(kind for kind in PROMPTED if kind not in ("mvp", "multi_lane"))


def learnable(kind: str, scenario: str) -> bool:
    """Whether the strategy is defined for the scenario's labels."""
    return scenario not in MULTI_LABEL_SCENARIOS or kind in MULTI_LABEL


def does_something_at_ends(kind: str) -> bool:
    """Whether the strategy makes or does something for each task or period."""
    return "n_tasks" in cls_of(kind).settings() or bool(
        {"period", "boundaries"} & {*ALL[kind].options}
    )


#: whose runs the families look at; a variant is trained on one of the first three
LOOKED_AT = ("si_blurry", "class_incremental", "mlcil", "si_blurry_multi_label")


def trained_on(kind: str) -> list[str]:
    """The scenarios that families train a strategy on: in turn one, the same for all of them, so
    that they share its run; two for strategies that do something at ends or hold samples, one of
    which announces its tasks, and one of which has several labels where the strategy can."""
    names = LOOKED_AT[:3] if kind in VARIANTS else LOOKED_AT
    own = [scenario for scenario in names if learnable(kind, scenario)]
    turn = list(ALL).index(kind)
    if kind in TABLE and (does_something_at_ends(kind) or kind in REPLAYING):
        return own[turn % 2 :: 2] if len(own) == 4 else own
    return [own[turn % len(own)]]


def cases(
    *names: str,
    but: Callable[[Any], bool] = lambda cls: False,
    variants: Iterable[str] = VARIANTS,
    once: bool = False,
) -> list[Any]:
    """(kind, scenario) for ``parametrize``, of those that families train a strategy on, or one
    scenario of each in turn. ``make quick`` takes the first, and no variant."""
    chosen = []
    for number, kind in enumerate((*TABLE, *variants)):
        if but(cls_of(kind)):
            continue
        possible = [scenario for scenario in names if learnable(kind, scenario)]
        fitting = [scenario for scenario in possible if scenario in trained_on(kind)]
        if kind in TABLE:
            fitting = fitting or possible[:1]
        if once:
            fitting = fitting[number % max(1, len(fitting)) :][:1]
        for scenario in fitting:
            slow = kind in VARIANTS or scenario != fitting[0]
            marks = [pytest.mark.slow] if slow else []
            chosen.append(pytest.param(kind, scenario, marks=marks))
    return chosen


def make(
    kind: str, scenario: str = "si_blurry", *, backbone: FrozenViT | None = None, **changes: Any
) -> Any:
    """A strategy of the table as the runner would build it for a scenario; if nothing else is
    given, on a ViT of two blocks on other scenarios than Si-Blurry."""
    # Of torch's seeds, those of other devices would each write a traceback.
    torch.default_generator.manual_seed(0)
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
    options = {**ALL[kind].options}
    told["n_classes"] = N_CLASSES
    if backbone is None and scenario != "si_blurry":
        options |= on_two_blocks(kind)
    else:
        told["backbone"] = backbone or vit_of(kind)
    given = list(changes.pop("plugins", ()))
    of_row = make_plugins(options.get("plugins", {}))
    replaced = {type(plugin) for plugin in given}
    options["plugins"] = [plugin for plugin in of_row if type(plugin) not in replaced] + given
    return cls(**{**told, **options, **changes})


def on_two_blocks(kind: str) -> dict[str, Any]:
    """Settings for a ViT of two blocks, on which prompts do as much at half the cost."""
    fitting = {k: v for k, v in ALL[kind].two_blocks.items() if k.endswith("blocks")}
    return {"backbone": vit_of(kind, 2), **fitting}


def vit_of(kind: str, depth: int = DEPTH) -> FrozenViT:
    if ALL[kind].vit in ("", MORE_PATCHES):
        return lively_vit(depth=depth, patch_size=4 if ALL[kind].vit else 8)
    return family_vit(ALL[kind].vit, patch_size=8, embed_dim=16, depth=depth)


def fit(strategy: Any, stream: Iterable[Any], **how: Any) -> Any:
    """Train on a stream: one experience after the other, or all at once where the strategy wants
    them so."""
    parts = list(stream)
    for part in [parts] if strategy.whole_stream else parts:
        strategy.train(part, eval_streams=[], **how)
    return strategy


def weights(strategy: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in strategy.model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
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
        found = model.eval()(data.images).argmax(dim=1)
    return float((found == torch.from_numpy(data.targets)).float().mean())
