"""Evaluation of a model: on the classes seen so far, and on an experience in Avalanche's eval."""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from itertools import compress, repeat

import numpy as np
import torch
import torch.nn.functional as F
from avalanche.benchmarks import CLExperience
from avalanche.benchmarks.utils import AvalancheDataset
from torch import Tensor, nn
from torch.utils.data import DataLoader

from cl_prompts.backbones.pixels import check_input, check_targets
from cl_prompts.datasets.classes import Items, labels_of
from cl_prompts.datasets.collate import HeldOutItems, collate, entries_of
from cl_prompts.errors import InputError, RunError, first_of
from cl_prompts.losses.multi_label import multi_label_loss
from cl_prompts.metrics.confidence import confidence
from cl_prompts.metrics.curve import Evaluation
from cl_prompts.metrics.multi_label import fixed_average_precision, multi_label_results
from cl_prompts.models.base import ContinualModel, finite
from cl_prompts.models.feature_cache import FeatureCache
from cl_prompts.state import Registered, State
from cl_prompts.strategies.base.experience import classes_of


class CachedEvaluator:
    """Evaluation on a fixed test set, with a feature cache.

    The frozen parts of a model's forward pass (a prompt method's query, a linear probe's feature,
    the logits of finished lanes) are computed once per image; results are exactly the same. Later
    evaluations cost one prompted pass for prompt methods, the new lane for MULTI-LANE, and no pass
    for head-only methods. Global random generators are not used, so evaluations do not change
    training.

    Args:
        dataset: map-style test set with ``.targets``, class ids (n,) or a 0/1 matrix (n, classes).
            Items are (image, label, ...), always the same for an index. Optional: ``.ignored`` (n,
            classes), pairs that average precision leaves out, and ``.domains`` (n,), names.
        batch_size: images per batch.
        device: where to compute.
        num_workers: loader processes, started once.

    Raises:
        InputError: missing targets, wrong shapes of targets, ignored pairs or domains, or a
            ``collate_fn`` of the data set.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> test = TensorDataset(torch.tensor([[2.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 1]))
        >>> test.targets = [0, 1]
        >>> evaluator = CachedEvaluator(test)
        >>> evaluator.evaluate(nn.Identity(), torch.tensor([True, True])).accuracy
        1.0
    """

    def __init__(
        self,
        dataset: Items,
        *,
        batch_size: int = 128,
        device: torch.device | str = "cpu",
        num_workers: int = 0,
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.device = torch.device(device)
        labels = labels_of("the labels of the test set", dataset)
        self.targets = torch.from_numpy(labels.astype(np.int64))
        ignored = getattr(dataset, "ignored", None)
        self.ignored = None if ignored is None else torch.as_tensor(ignored, dtype=torch.bool)
        domains = getattr(dataset, "domains", None)
        names, numbers = np.unique([] if domains is None else domains, return_inverse=True)
        self.domain_names = tuple(map(str, names.tolist()))
        """Sorted names of the test images' domains; empty without domains."""
        self.domain_of_each = torch.from_numpy(numbers)
        self.shown: Tensor | None = None
        """(domains,) boolean: domains whose test images count; None: all, without accuracy by
        domain."""
        self.images = 0
        """Number of test images evaluated so far, with repetitions."""
        self.macs = 0.0
        """Multiply-accumulates of the backbone in evaluations."""
        self.confidence = torch.zeros(0)
        """(n,) :func:`~cl_prompts.metrics.confidence.confidence` of the last evaluation's images,
        in no particular order."""
        self._state = Registered(self, ["images", "macs", "confidence"])
        self._features = FeatureCache()
        self._features.reserve(0, len(self.targets))
        self._loader: DataLoader[list[Tensor]] | None = None
        self._batches: list[list[int]] = []
        self._looked_at = False

    def _cache_keys(self, model: nn.Module) -> dict[str, Hashable]:
        return model.cache_keys() if isinstance(model, ContinualModel) else {}

    @property
    def multi_label(self) -> bool:
        """Whether the test set has a 0/1 matrix of labels."""
        return self.targets.dim() == 2

    def rows(self, seen: Tensor) -> Tensor:
        """Indices of the test images with a class in ``seen``, in the ``shown`` domains.

        Raises:
            InputError: labels of another number of classes.
        """
        seen = seen.cpu()
        n_classes = self.targets.shape[1] if self.multi_label else int(self.targets.max()) + 1
        if n_classes > len(seen) or (self.multi_label and n_classes < len(seen)):
            raise InputError(
                f"the test set has labels of {n_classes} classes, and the model {len(seen)}: give"
                " the same to both"
            )
        count = self.targets[:, seen].any(dim=1) if self.multi_label else seen[self.targets]
        if self.shown is not None:
            count = count & self.shown[self.domain_of_each]
        return torch.nonzero(count).flatten()

    def evaluate(
        self,
        model: nn.Module,
        seen: Tensor,
        *,
        samples_seen: int = 0,
        tasks: Sequence[Sequence[int]] = (),
        counting: Tensor | None = None,
    ) -> Evaluation:
        """Evaluate on the classes seen so far.

        Args:
            model: any module that maps images to logits.
            seen: (classes,) boolean.
            samples_seen: stream samples so far, stored with the evaluation.
            tasks: classes of each task so far; multi-label: AP is also computed on the test set at
                the end of each class's task.
            counting: (classes,) boolean, classes whose test images count; None: ``seen``. Images of
                unseen classes are wrong; in multi-label data they show no seen class.
        """
        chunks = list(self.logits(model, seen if counting is None else counting))
        rows = torch.cat([r for r, _ in chunks]) if chunks else torch.zeros(0, dtype=torch.int64)
        empty = torch.zeros(0, len(seen))
        logits = torch.cat([values.cpu() for _, values in chunks]) if chunks else empty
        own = seen.cpu() if self.multi_label else None
        self.confidence = confidence(logits[:, : len(seen)], own)
        if not self.multi_label:
            return self._accuracies(rows, logits, len(seen), samples_seen)
        targets = self.targets[rows]
        ignored = None if self.ignored is None else self.ignored[rows]
        whole = multi_label_results(
            logits,
            targets,
            seen.cpu(),
            ignored=ignored,
            score_threshold=getattr(model, "score_threshold", None),
        )
        fixed = fixed_average_precision(logits, targets, tasks, ignored)
        return Evaluation(samples_seen, whole.mean_ap, whole.ap, fixed, whole.scores)

    def _accuracies(
        self, rows: Tensor, logits: Tensor, n_classes: int, samples_seen: int
    ) -> Evaluation:
        """Accuracies by class and, with ``shown`` domains, by domain and class."""
        domains = torch.zeros_like(rows) if self.shown is None else self.domain_of_each[rows]
        labels = self.targets[rows]
        cells = domains * n_classes + labels
        shape = (1 if self.shown is None else len(self.shown), n_classes)
        right, images = (
            torch.bincount(of, minlength=shape[0] * n_classes).view(shape)
            for of in (cells[logits.argmax(dim=1) == labels], cells)
        )
        return Evaluation(
            samples_seen,
            int(right.sum()) / len(rows) if len(rows) else float("nan"),
            right.sum(0).double() / images.sum(0),
            images=images.sum(0),
            by_cell=None if self.shown is None else right.double() / images,
            images_by_cell=None if self.shown is None else images,
        )

    def state_dict(self, model: nn.Module) -> State:
        """Cached parts that later evaluations of this model can use, and the counters."""
        return {
            **self._state.state_dict(),
            "features": self._features.state_dict(self._cache_keys(model)),
        }

    def load_state_dict(self, state: State, model: nn.Module) -> None:
        """Inverse of :meth:`state_dict`, for a model in the same state."""
        self._state.load_state_dict(state)
        self._features.load_state_dict(state["features"], self._cache_keys(model), self.device)

    @torch.no_grad()
    def logits(self, model: nn.Module, seen: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield rows and logits (batch, classes) of the counted test images, in any order."""
        if self.multi_label and isinstance(model, ContinualModel) and not model.multi_label:
            raise InputError(
                "the test set has several labels per image, and the model supports one: give"
                " .targets of class ids, or a model with multi_label=True"
            )
        seen, rows = seen.cpu(), self.rows(seen)
        self.images += len(rows)
        before = macs_of(model)
        hidden = 0.0 if self.multi_label else float("-inf")
        with evaluating(model):
            for batch, logits in self._scores(model, rows):
                check_finite(batch, logits)
                # A head may be wider than the test labels.
                columns = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device)
                columns[: len(seen)] = seen[: logits.shape[1]]
                yield batch, logits.float().masked_fill(~columns, hidden)
        self.macs += macs_of(model) - before

    def _scores(self, model: nn.Module, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield rows and logits in batches of rows with the same cached parts."""
        keys = self._cache_keys(model)
        self._features.drop_outdated(keys)
        for have, mine in self._groups(rows, sorted(keys)):
            batches = list(mine.split(self.batch_size))
            if not isinstance(model, ContinualModel):
                yield from zip(batches, map(model, self._images(batches)), strict=True)
                continue
            needed = model.needs_images(have)
            images = self._images(batches) if needed else repeat(None, len(batches))
            for batch, shown in zip(batches, images, strict=True):
                if shown is not None and not self._looked_at:
                    check_input(model.backbone, shown)
                    self._looked_at = True
                cached = {name: self._features.get(name, batch) for name in have}
                out = model.run(shown, cached)
                new = {k: values for k, values in out.cacheable.items() if k not in have}
                self._features.put(batch, new, keys)
                yield batch, out.logits

    def _groups(self, rows: Tensor, names: list[str]) -> Iterator[tuple[list[str], Tensor]]:
        """Yield the names of cached parts and the rows that have them, new rows last."""
        known = [self._features.known(name, rows) for name in names]
        flags = torch.stack([torch.ones(len(rows), dtype=torch.bool), *known], dim=1)
        for group in flags.unique(dim=0).flip(0):
            members = (flags == group).all(dim=1)
            yield list(compress(names, group[1:].tolist())), rows[members]

    def _images(self, batches: list[Tensor]) -> Iterator[Tensor]:
        """Yield the images of batches of rows, by one loader with a private generator."""
        if self._loader is None:
            self._loader = DataLoader(
                HeldOutItems(self.dataset, self.targets.numpy()),
                batch_sampler=self._batches,
                collate_fn=_images_alone,
                num_workers=self.num_workers,
                persistent_workers=self.num_workers > 0,
                pin_memory=self.device.type == "cuda",
                generator=torch.Generator().manual_seed(0),
            )
        # In place: the persistent loader reads this list.
        self._batches[:] = [rows.tolist() for rows in batches]
        for items in self._loader:
            yield items[0].to(self.device, non_blocking=True)

    def close(self) -> None:
        """Stop the loader's processes; a later evaluation starts new ones."""
        # Left to the garbage collector they would block for five seconds.
        self._loader = None


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


def _images_alone(items: Sequence[object]) -> list[Tensor]:
    """Collate the images of items; other entries, such as paths, may be of any kind."""
    return collate([entries_of(item)[:1] for item in items])


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for the context; modules may be in different modes before."""
    was_training = [m for m in model.modules() if m.training]
    model.eval()
    try:
        yield
    finally:
        for module in was_training:
            module.training = True


def macs_of(model: nn.Module) -> float:
    """Multiply-accumulates counted by a model's backbone; 0 for other models.

    >>> macs_of(nn.Identity())
    0.0
    """
    return model.backbone.counter.macs if isinstance(model, ContinualModel) else 0.0


def check_finite(rows: Tensor, logits: Tensor) -> None:
    """Raise ``RunError`` for logits with NaN or +inf; -inf masks a class."""
    if logits.numel() == 0 or bool(logits.amax() < float("inf")):  # NaN is not less
        return
    wrong = (logits != logits) | (logits == float("inf"))
    where = rows[wrong.any(dim=1).cpu()].tolist()
    raise RunError(
        f"the logits of test images {first_of(where, 8)} are not finite: check these images, the"
        " data set's transforms and the learning rate"
    )
