"""Compare rules that choose the strength of regularisation, on images of a folder per class.

    python benchmarks/leave_one_out.py DATA/train --weights FILE --classes 20: --sizes 20x50 80x80
    python benchmarks/leave_one_out.py VOC_ONE_LABEL --weights FILE --sizes 20x25

Each size CLASSESxIMAGES draws classes and training images of each (fewer where a class has fewer);
up to 40 further images of each class test. Prints the mean accuracy in % and the mean negative
log-likelihood of each rule over the seeds, with the least and greatest difference in accuracy from
the evidence rule. Features of ``recommended``, computed once and stored in ``--features``.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_prompts.backbones import create_backbone
from cl_prompts.closed_form import PooledRidge, PrototypeClassifier, RidgeLDA, StreamingLDA
from cl_prompts.datasets.decoding import decode
from cl_prompts.datasets.transforms import Augmentation
from cl_prompts.metrics.confidence import temperature_of

TESTED = 40


def classifiers(dim: int, n_classes: int) -> dict[str, PrototypeClassifier]:
    """An untrained classifier of each rule."""
    return {
        "ridge by evidence": PooledRidge(dim, n_classes),
        "ridge by leave-one-out": PooledRidge(dim, n_classes, ridge="leave_one_out"),
        "LDA by leave-one-out": StreamingLDA(dim, n_classes, shrinkage="leave_one_out"),
        "their pool": RidgeLDA(dim, n_classes),
    }


@torch.no_grad()
def features_of(root: Path, weights: str, image_size: int) -> dict[str, Tensor]:
    """Class name -> features (n, dim) of its images."""
    vit = create_backbone(
        "vit_small_patch14_dinov2.lvd142m", weights=weights, image_size=image_size
    ).with_features("blocks:half")
    transform = Augmentation(crop="square").test(image_size)
    found = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        files = sorted(map(str, folder.iterdir()))
        images = torch.stack([transform(decode(file)) for file in files])
        found[folder.name] = torch.cat([vit(part).float() for part in images.split(64)])
        print(f"{folder.name}: {len(files)} images", flush=True)
    return found


def compared(
    features: Mapping[str, Tensor], n_classes: int, images: int, seed: int
) -> dict[str, tuple[float, float]]:
    """Accuracy in % and NLL of each rule on drawn classes and images."""
    generator = torch.Generator().manual_seed(seed)
    names = sorted(features)
    chosen = [names[i] for i in torch.randperm(len(names), generator=generator)[:n_classes]]
    train, test = [], []
    for name in chosen:
        rows = torch.randperm(len(features[name]), generator=generator)
        tested = min(TESTED, len(rows) // 3)
        test.append(features[name][rows[:tested]])
        train.append(features[name][rows[tested:][:images]])
    x, y = joined(train)
    probes, targets = joined(test)
    found = {}
    for rule, head in classifiers(x.shape[1], len(chosen)).items():
        head.update(x, y)
        logits = head.logits(probes)
        right = (logits.argmax(dim=1) == targets).double().mean()
        # Each rule with the temperature that leave-one-out scores give it.
        temperature = temperature_of(head.leave_one_out(x, y).float(), y) or 1.0
        nll = F.cross_entropy(logits / temperature, targets)
        found[rule] = (100 * float(right), float(nll))
    return found


def joined(parts: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Features and labels of all classes."""
    sizes = torch.tensor([len(part) for part in parts])
    return torch.cat(parts), torch.arange(len(parts)).repeat_interleave(sizes)


def main() -> None:
    """Print a row for each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--image-size", type=int, default=70)
    parser.add_argument("--classes", default=":", help="slice of the sorted classes, such as 20:")
    parser.add_argument("--sizes", nargs="+", default=["10x20", "20x50", "50x50", "80x80"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--features", type=Path, help="file that keeps features between calls")
    args = parser.parse_args()
    if args.features and args.features.is_file():
        features = torch.load(args.features, weights_only=True)
    else:
        features = features_of(args.root, args.weights, args.image_size)
        if args.features:
            torch.save(features, args.features)
    names = sorted(features)[slice(*(int(n) if n else None for n in args.classes.split(":")))]
    features = {name: features[name] for name in names}
    rules = [*classifiers(1, 1)]
    print(f"| classes x images | {' | '.join(rules)} |\n| --- |{' --- |' * len(rules)}")
    for size in args.sizes:
        runs = [compared(features, *map(int, size.split("x")), seed) for seed in args.seeds]
        cells = []
        for rule in rules:
            gains = [run[rule][0] - run[rules[0]][0] for run in runs]
            mean = [statistics.mean(run[rule][i] for run in runs) for i in range(2)]
            range_of = f" [{min(gains):+.1f}, {max(gains):+.1f}]" if rule != rules[0] else ""
            cells.append(f"{mean[0]:.1f} ({mean[1]:.2f}){range_of}")
        print(f"| {size} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
