"""Pass over the test images of an experience, for Avalanche's ``eval``."""

import torch
import torch.nn.functional as F
from avalanche.benchmarks import CLExperience
from avalanche.benchmarks.utils import AvalancheDataset
from torch import Tensor
from torch.utils.data import DataLoader

from cl_prompts.backbones.pixels import check_input, check_targets
from cl_prompts.datasets.collate import HeldOutItems
from cl_prompts.losses.multi_label import multi_label_loss
from cl_prompts.models.base import ContinualModel, finite
from cl_prompts.strategies.base.experience import classes_of
from cl_prompts.strategies.evaluation.evaluator import check_finite


class EvalPass:
    """Logits of the test images of an experience.

    Args:
        experience: the tested experience.
        model: model in evaluation.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import NCM
        >>> ncm = NCM(backbone=create_backbone(), n_classes=2, evaluator=None, device="cpu")
        >>> ncm.model.observe_classes(torch.tensor([0, 1]))
        >>> tested = EvalPass(None, ncm.model)
        >>> tuple(tested.logits(torch.rand(3, 3, 32, 32), torch.tensor([0, 1, 1])).shape)
        (3, 2)
    """

    def __init__(self, experience: CLExperience, model: ContinualModel) -> None:
        self.model = model
        self.annotated = classes_of(experience, model.n_classes).to(model.seen.device)
        """Mask (classes,) of the classes that the experience labels."""
        self.images = 0
        """Test images so far."""

    def loader(
        self, data: AvalancheDataset, batch_size: int, num_workers: int
    ) -> DataLoader[Tensor]:
        """Return the loader of test images, without augmentation."""
        return DataLoader(
            HeldOutItems(data, data.targets),
            batch_size,
            num_workers=num_workers,
            pin_memory=self.model.seen.is_cuda,
            # A private generator, so that evaluation does not change training.
            generator=torch.Generator(),
        )

    def logits(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return logits (batch, classes), with a large finite negative for masked classes.

        Losses and metrics of Avalanche would be NaN with -inf.
        """
        model = self.model
        if not self.images:
            check_input(model.backbone, images)
            check_targets(labels, model.n_classes, multi_label=model.multi_label)
        logits = model.run(images).logits
        check_finite(torch.arange(self.images, self.images + len(logits)), logits)
        self.images += len(logits)
        return finite(logits)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the plain (binary) cross-entropy over the seen classes."""
        if self.model.multi_label:
            return multi_label_loss(logits, labels, self.model.seen & self.annotated)
        return F.cross_entropy(logits, labels)
