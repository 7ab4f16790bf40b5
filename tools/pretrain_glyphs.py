"""Pre-training of the embedded tiny ViT on rendered letters and symbols, never digits.

    python tools/pretrain_glyphs.py --out glyph_vit_tiny.safetensors

The fonts are those of Debian 13 packages and of matplotlib; the card beside the shipped file
(``cl_prompts/assets/glyph_vit_tiny.md``) lists the packages. On a machine with other fonts the
result will differ.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from glyphs import GLYPHS, IMAGE_SIZE, GlyphTable, draw_batch, find_fonts, render_table
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # a dependency of scikit-learn
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from cl_prompts.datasets.digits import digits_images, digits_split
from cl_prompts.errors import InputError

ARCHITECTURE: dict[str, int] = {
    "img_size": IMAGE_SIZE,
    "patch_size": 8,
    "embed_dim": 128,
    "depth": 6,
    "num_heads": 4,
    "num_classes": 0,
}
MEAN = STD = 0.5
PEAK_LR = 0.0008
WEIGHT_DECAY = 0.05
BATCH = 64
WARM_UP = 0.03


@dataclass
class Budget:
    """Progress of training, by processor time, or by steps for an exactly repeatable run.

    Attributes:
        cpu_seconds: processor seconds after which training ends.
        steps: number of steps after which training ends instead, whatever the time.
        start: reading of ``time.process_time()`` from which seconds count; 0 is the start of the
            process.
        step: steps done so far.
    """

    cpu_seconds: float
    steps: int | None = None
    start: float = 0.0
    step: int = field(default=0, init=False)

    def spent(self) -> float:
        """Share of the budget used so far, from 0 to 1."""
        if self.steps is not None:
            return min(1.0, self.step / self.steps)
        return min(1.0, (time.process_time() - self.start) / self.cpu_seconds)


def learning_rate(spent: float) -> float:
    """Linear warm-up over the first 3 % of the budget, then half a cosine down to zero."""
    if spent < WARM_UP:
        return PEAK_LR * (spent + 1e-3) / (WARM_UP + 1e-3)
    return PEAK_LR * 0.5 * (1 + math.cos(math.pi * (spent - WARM_UP) / (1 - WARM_UP)))


def new_vit(seed: int) -> VisionTransformer:
    """The architecture with timm's random initial weights, in evaluation mode."""
    torch.manual_seed(seed)
    return VisionTransformer(**ARCHITECTURE).eval()


def normalise(images: Tensor) -> Tensor:
    """Images in [0, 1], normalised with mean 0.5 and standard deviation 0.5 in each channel."""
    return (images - MEAN) / STD


def train(
    table: GlyphTable,
    budget: Budget,
    *,
    seed: int = 0,
    batch: int = BATCH,
    report: Callable[[int, float, float, float], None] | None = None,
) -> VisionTransformer:
    """Classify augmented glyphs with AdamW and cross-entropy until the budget is spent.

    Args:
        table: the rendered glyphs.
        budget: when to stop; the learning rate follows it.
        seed: of initial weights and of the batches.
        batch: images a step.
        report: called after each step with step, budget share spent, loss, and accuracy on the
            batch before the update.

    Returns:
        The ViT without the classifier, in evaluation mode.
    """
    vit = new_vit(seed).train()
    head = nn.Linear(ARCHITECTURE["embed_dim"], len(table.images))
    parameters = [*vit.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=PEAK_LR, weight_decay=WEIGHT_DECAY, fused=True)
    generator = torch.Generator().manual_seed(seed)
    while (spent := budget.spent()) < 1:
        images, labels = draw_batch(table, batch, generator)
        optimizer.param_groups[0]["lr"] = learning_rate(spent)
        logits = head(vit(normalise(images)))
        loss = F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        budget.step += 1
        if report is not None:
            accuracy = (logits.argmax(1) == labels).float().mean()
            report(budget.step, spent, float(loss.detach()), float(accuracy))
    return vit.eval()


def save(vit: VisionTransformer, path: Path, facts: dict[str, Any]) -> None:
    """Write the weights as fp16 under timm's names, with ``facts`` in the header."""
    weights = {
        name: tensor.detach().half().contiguous() for name, tensor in vit.state_dict().items()
    }
    metadata = {
        "format": "pt",
        "architecture": json.dumps(ARCHITECTURE),
        "mean": json.dumps([MEAN] * 3),
        "std": json.dumps([STD] * 3),
        "glyphs": GLYPHS,
        **{name: str(value) for name, value in facts.items()},
    }
    save_file(weights, path, metadata)


def load(path: Path) -> VisionTransformer:
    """Network of a file that ``save`` wrote: fp16 weights in fp32 modules, in evaluation mode."""
    with safe_open(path, framework="pt") as file:
        architecture = json.loads(file.metadata()["architecture"])
    vit = VisionTransformer(**architecture)
    vit.load_state_dict(load_file(path))
    return vit.eval()


def probe(
    features_train: np.ndarray,
    labels_train: np.ndarray,
    features_test: np.ndarray,
    labels_test: np.ndarray,
) -> tuple[float, float]:
    """Test accuracies of two simple classifiers on frozen features (n, dim).

    Returns:
        linear: logistic regression (scikit-learn's defaults, at most 2000 iterations) on
            standardised features.
        nearest: the label of the one training image with the largest cosine similarity.
    """
    # On matrices this small, several threads are slower than one.
    with threadpool_limits(1):
        linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(
            features_train, labels_train
        )
    nearest = KNeighborsClassifier(n_neighbors=1, metric="cosine").fit(features_train, labels_train)
    return float(linear.score(features_test, labels_test)), float(
        nearest.score(features_test, labels_test)
    )


def probe_digits(features: Callable[[Tensor], Tensor]) -> tuple[float, float]:
    """``probe`` on the embedded digits, split by ``digits_split``.

    Args:
        features: images (n, 3, 32, 32) in [0, 1] -> features (n, dim).
    """
    images, labels = digits_images(IMAGE_SIZE)
    with torch.inference_mode():
        values = features(images.float() / 255).numpy()
    train_rows, test_rows = digits_split(labels)
    return probe(values[train_rows], labels[train_rows], values[test_rows], labels[test_rows])


def card_rows(weights: Path) -> dict[str, tuple[float, float]]:
    """Accuracies that the card states: of the class token after the final norm, and of baselines.

    Random weights (seed 0) are probed twice, on normalised images and on images in [0, 1], which
    make random features much better.
    """
    shipped = load(weights)
    random = new_vit(0)
    return {
        "shipped": probe_digits(lambda images: shipped(normalise(images))),
        "random": probe_digits(lambda images: random(normalise(images))),
        "random, input not normalised": probe_digits(random),
        "raw pixels": probe_digits(lambda images: images[:, 0].flatten(1)),
    }


def _progress(batch: int) -> Callable[[int, float, float, float], None]:
    """Report that prints running means of loss and accuracy every 200 steps."""
    sums = np.zeros(2)
    every = 200

    def report(step: int, spent: float, loss: float, accuracy: float) -> None:
        sums[:] += loss, accuracy
        if step % every == 0:
            mean_loss, mean_accuracy = sums / every
            cpu = time.process_time()
            print(
                f"{spent:6.1%}  step {step:6d}  {step * batch / cpu:4.0f} images per CPU second"
                f"  loss {mean_loss:.3f}  accuracy {mean_accuracy:.3f}",
                flush=True,
            )
            sums[:] = 0

    return report


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument(
        "--cpu-minutes",
        type=float,
        default=30.0,
        help="processor time for everything but evaluation",
    )
    parser.add_argument(
        "--steps", type=int, help="stop after so many steps instead (repeatable on one machine)"
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="threads; one does most images per CPU second"
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Command line: render, train, save, and print the card's table."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.out.absolute().parent.is_dir():
        parser.error(
            f"--out {options.out}: the folder {options.out.parent} does not exist, create it first"
        )
    if (
        options.cpu_minutes <= 0
        or options.threads < 1
        or (options.steps is not None and options.steps < 1)
    ):
        parser.error("--cpu-minutes, --steps and --threads must be positive")
    torch.set_num_threads(options.threads)
    try:
        fonts = find_fonts()
    except InputError as error:
        parser.error(str(error))
    table = render_table(fonts)
    print(
        f"{len(GLYPHS)} glyphs in {len(fonts)} fonts of {len(set(fonts.values()))} families",
        flush=True,
    )

    budget = Budget(options.cpu_minutes * 60, options.steps)
    vit = train(table, budget, seed=options.seed, report=_progress(BATCH))
    cpu_minutes = round(time.process_time() / 60, 2)
    facts = {
        "fonts": len(fonts),
        "steps": budget.step,
        "images": budget.step * BATCH,
        "cpu_minutes": cpu_minutes,
    }
    save(vit, options.out, {**facts, "seed": options.seed})
    print(f"{options.out}: {facts}")
    for name, (linear, nearest) in card_rows(options.out).items():
        print(f"| {name} | {linear:.3f} | {nearest:.3f} |", flush=True)


if __name__ == "__main__":
    main()
