"""A job of two processes for :mod:`tests.families.test_ranks`, and what one does instead."""

from __future__ import annotations

import os
import signal
import traceback
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from cl_prompts.backbones import ranks
from cl_prompts.backbones.weights import create_backbone
from cl_prompts.datasets.transforms import Augmentation
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.tracking.tracker import ProgressLine
from cl_prompts.scenarios import class_incremental_benchmark, load_dataset
from cl_prompts.strategies import AnytimeEvaluation, SelfRegulation, StrategyPlugin
from tests.experiments.commands import signalling
from tests.families.test_workers import augmented
from tests.few_images import few_images
from tests.toys import ALL, TABLE, cls_of, make, on_two_blocks, weights

#: what the rows of the table do not show: statistics of the head's input, teachers, prompts that
#: are written otherwise, images that are read by other ways, all weights trained
KINDS = (
    *TABLE,
    "mvp_r_whitened",
    "dual_prompt_written",
    "vq_prompt_regulated",
    "rainbow_chosen",
    "clib_tuned",
)
#: plugins of MVP on the embedded ViT, where all of a pass is sums of many numbers
ON_EMBEDDED: dict[str, list[type[StrategyPlugin]]] = {
    "alone": [],
    "self_regulation": [SelfRegulation],
}
EMBEDDED_UPDATES = 20
#: updates on each of three or four batches: at least 12 in all
UPDATES = 4
RUN = ("digits", "classes=4", "n_tasks=2", "every=40", "online_iter=1", "seed=3")
# Of a pool smaller than a batch one process projects the entries, and ranks their images.
RUN += ("strategy=mvp", "pool_size=200", "train_mb_size=16")


def trained(kind: str) -> dict[str, Any]:
    """What a strategy has learned after a short stream, and what its evaluations found."""
    options = ALL[kind].options
    # These two pass over the images of an announced task once more.
    announced = "boundaries" in options or kind in ("smope", "vq_prompt")
    scenario = "class_incremental" if announced else "si_blurry"
    if kind in ("multi_label_ridge", "l3a"):
        scenario = "si_blurry_multi_label"
    # The last two of three tasks, of 8 and 32 images, or of 16 each: the last batch of a task has
    # one row, for one rank.
    batch = 31 if scenario == "si_blurry" else 15
    # Alone image by image; together in batches, where each rank makes the whole one.
    on = "device" if ranks.is_distributed() else "loader"
    benchmark, test = augmented(scenario, on, Augmentation(padding=2))
    anytime = AnytimeEvaluation(test, every=None)
    changes: dict[str, Any] = {"train_mb_size": batch, "plugins": [anytime]} | on_two_blocks(kind)
    if not cls_of(kind).whole_stream and ALL[kind].learns != "prototypes":
        changes["online_iter"] = UPDATES
    strategy = make(kind, scenario, **changes)
    if strategy.model.backbone.trainable:
        # Adam blows up the rounding of gradients that are zero but for it, as of the keys' bias.
        everything = [p for p in strategy.model.parameters() if p.requires_grad]
        strategy.optimizer = torch.optim.SGD([{"params": everything}], 1e-2)
    stream = list(benchmark.train_stream)[1:]
    for part in [stream] if strategy.whole_stream else stream:
        strategy.train(part, eval_streams=[])
    points = anytime.curve.points()
    return {
        "weights": weights(strategy),
        "buffer": strategy.buffer.slots.clone(),
        "updates": strategy.updates,
        "accuracies": [(p.samples_seen, p.accuracy) for p in points],
        "by_class": torch.stack([p.by_class for p in points]),
        "confidence": anytime.evaluator.confidence.sort().values,
        "cached": cached(anytime.state_dict()["evaluator"]),
        "passes": strategy.model.backbone.counter.blocks,
    }


def on_embedded(case: str) -> dict[str, Any]:
    """What MVP learns on the embedded ViT, whose sums are longer, in 20 updates."""
    with few_images(4, 1):
        data = load_dataset("digits", image_size=32, augment=False)
    settings: dict[str, Any] = {"n_classes": 10, "train_mb_size": 8}
    settings["plugins"] = [kind() for kind in ON_EMBEDDED[case]]
    updates = EMBEDDED_UPDATES // 5  # of each batch
    strategy = make("mvp", backbone=create_backbone(), online_iter=updates, **settings)
    benchmark = class_incremental_benchmark(data.train, data.test, n_tasks=1, seed=0)
    strategy.train(next(iter(benchmark.train_stream)), eval_streams=[])
    rate = max(group["lr"] for group in strategy.optimizer.param_groups)
    return {"weights": weights(strategy), "updates": strategy.updates, "rate": rate}


def cached(state: dict[str, Any]) -> dict[str, Any]:
    """What an evaluator has cached, of all ranks together."""
    return {name: values[known] for name, (known, values) in state["cached"].items()}


def stop_at(samples: int) -> None:
    """Let this process be asked to stop, once, when a run has seen so many samples."""
    asked = signalling(signal.SIGTERM, samples)
    ProgressLine.after_training_iteration = asked  # type: ignore[method-assign]


def run(out: Path, *more: str) -> int:
    """Exit code of a run through the command line."""
    return main(["run", *RUN, *more, "--out", str(out), "--quiet"])


def work(rank: int, port: int, folder: Path) -> None:
    """What each process of the job does, told what it is as ``torchrun`` does it."""
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in told.items()})
    os.environ["MASTER_ADDR"] = "localhost"
    with (folder / f"said{rank}").open("w") as out, redirect_stdout(out), redirect_stderr(out):
        try:
            _work(folder)
        except BaseException:
            traceback.print_exc()
            raise


def _work(folder: Path) -> None:
    torch.set_num_threads(1)
    ranks.start()
    mine = str(ranks.rank())
    torch.save({kind: trained(kind) for kind in KINDS}, folder / f"rank{mine}.pt")
    torch.save({case: on_embedded(case) for case in ON_EMBEDDED}, folder / f"embedded{mine}.pt")
    out = folder / "runs"
    # Asked of rank 0, which draws progress, and obeyed by both.
    stop_at(50)
    codes = [run(out)]
    stop_at(120)
    codes.append(main(["run", "--resume", *map(str, out.glob("digits/mvp/*")), "--quiet"]))
    (folder / f"codes{mine}").write_text(repr(codes))
    ranks.leave()
