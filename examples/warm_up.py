"""Warm-up of MISA's prompts (ICLR 2025), once per backbone, on classes that no stream holds.

python examples/warm_up.py cifar100 vit_base_patch16_224 warm.safetensors
cl-prompts run my_images strategy=misa misa.initial_prompts=warm.safetensors
"""

import sys
from itertools import chain, cycle

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Subset

from cl_prompts.backbones import create_backbone
from cl_prompts.losses import key_distance, masked_cross_entropy
from cl_prompts.models import PromptedViT
from cl_prompts.prompts import Reparameterised
from cl_prompts.scenarios import load_dataset
from cl_prompts.strategies import MISA


class ForgettingAware:
    """Forgetting-aware minimisation around any optimizer (MISA, ICLR 2025, arXiv 2503.00677).

    Sharpness-aware minimisation whose ascent comes from *other* data: with g_o the gradient of the
    loss on held-out classes, ``theta~ = theta + rho g_o / (||g_o|| + 1e-12)``; the gradient of the
    main loss is taken at theta~ and applied at theta. The norm is over all parameters that have a
    gradient. A step costs two forward and backward passes::

        fam.zero_grad()
        loss(other).backward()
        fam.ascend()
        loss(main).backward()
        fam.step()
    """

    def __init__(self, optimizer: Optimizer, rho: float = 0.1) -> None:
        self.optimizer = optimizer
        self.rho = rho
        self.before: list[tuple[Tensor, Tensor]] = []

    def zero_grad(self) -> None:
        """Clear the gradients."""
        self.optimizer.zero_grad()

    @torch.no_grad()
    def ascend(self) -> None:
        """Move along the gradients of the loss on other data, and clear them."""
        groups = self.optimizer.param_groups
        moving = [p for group in groups for p in group["params"] if p.grad is not None]
        # theta~ = theta + rho g_o / (||g_o|| + 1e-12), the norm over all parameters
        factor = self.rho / (get_total_norm([p.grad for p in moving]) + 1e-12)
        self.before = [(p, p.detach().clone()) for p in moving]
        for p in moving:
            p.add_(p.grad * factor)
        self.zero_grad()

    @torch.no_grad()
    def step(self) -> None:
        """Undo the ascent, and make an optimizer step with the gradients of the main loss."""
        for p, values in self.before:
            p.copy_(values)
        self.before = []
        self.optimizer.step()


def project(model: PromptedViT) -> Reparameterised:
    """Let the E-prompts pass through a residual projector while they learn."""
    dim = model.backbone.dim
    projector = nn.Sequential(
        nn.Linear(dim, dim // 8), nn.LayerNorm(dim // 8), nn.ReLU(), nn.Linear(dim // 8, dim)
    )
    projected = Reparameterised(model.pools[1], projector)
    model.pools[1] = projected.to(model.seen.device)
    return projected


def loss(model: PromptedViT, images: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy over the seen classes, and the distance between queries and keys."""
    output = model.run(images.to(model.seen.device))
    entropy = masked_cross_entropy(output.logits, labels.to(model.seen.device), model.seen)
    return entropy + key_distance(output.selection)


def step(model: PromptedViT, fam: ForgettingAware, main: list, other: list) -> float:
    """Ascend on the loss of held-out classes, and descend on that of the task from there."""
    fam.zero_grad()
    loss(model, *other).backward()
    fam.ascend()
    found = loss(model, *main)
    found.backward()
    fam.step()
    return float(found.detach())


def warm_up(misa: MISA, data, *, tasks=10, epochs=3, lr=1e-4, batch=65) -> dict[str, Tensor]:
    """Learn tasks of nine tenths of the classes in turn; the others are the held-out ones."""
    model = misa.model.train()
    learned, held_out = np.split(np.arange(misa.n_classes), [-max(1, misa.n_classes // 10)])
    projected = project(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    fam = ForgettingAware(torch.optim.Adam(trained, lr), rho=0.1)

    def batches(classes: np.ndarray) -> DataLoader:
        rows = np.flatnonzero(np.isin(data.targets, classes))
        return DataLoader(Subset(data, rows), batch, shuffle=True)

    others = chain.from_iterable(batches(held_out) for _ in cycle([0]))
    for task in np.array_split(learned, tasks):
        for main in chain.from_iterable(batches(task) for _ in range(epochs)):
            other = next(others)
            model.observe_classes(torch.cat([main[1], other[1]]).to(model.seen.device))
            print(f"loss {step(model, fam, main, other):.3f}", end="\r")
    values = {"g_prompts": model.pools[0].values[None], "e_prompts": projected.values}
    return {name: value.detach().flatten(1, -2) for name, value in values.items()}


if __name__ == "__main__":
    name, backbone, out = sys.argv[1:]
    vit = create_backbone(backbone)
    data = load_dataset(name, image_size=vit.image_size)
    misa = MISA(backbone=vit, n_classes=len(data.classes), evaluator=None)
    prompts = warm_up(misa, data.train)
    save_file({name: values.cpu() for name, values in prompts.items()}, out)
