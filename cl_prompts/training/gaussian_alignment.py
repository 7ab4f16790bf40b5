"""Alignment of a head with draws from Gaussian statistics of past classes' features."""

import math
from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

GaussianStatistics = Literal["covariance", "variance", "centroids"]
AlignmentOptimizer = Literal["sgd", "adamw"]
MeanScale = Literal["task"]

Batch = tuple[Tensor, Tensor]

#: Variance that is added to every dimension of a draw.
RIDGE = 1e-4

#: Width of the uniform distribution of a draw's rate about ``feature_scale``.
SPREAD = 0.02

#: Where the rate of ``optimizer="adamw"`` ends.
LAST_RATE = 1e-6


class GaussianHeadAlignment(nn.Module):
    """Feature statistics per class, and head training on draws from them.

    "Task-adaptive prediction" of HiDe-Prompt (NeurIPS 2023, arXiv 2310.07234), also used by NoRGa,
    VQ-Prompt and SMoPE; SLCA's alignment is ``covariance`` with the options below. At a task's end
    :meth:`observe` adds the features of its classes; :meth:`align` then trains the head alone on
    draws from all seen classes, so that rows of different tasks become comparable.

    * ``centroids``: ``n_centroids`` k-means centres per class with the variances of their clusters,
      with equal numbers of draws. Clusters without variance are left out, so a class with no more
      images than centroids is not drawn, but competes. All features of a class must come in one
      call. HiDe-Prompt's default.
    * ``covariance``: one full covariance per class: n_classes * dim^2 numbers.
    * ``variance``: its diagonal. Equal to ``centroids`` with one centroid, as in VQ-Prompt and
      SMoPE.

    ``covariance`` and ``variance`` stream: a class may come in parts (pairwise update of Chan,
    Golub and LeVeque, 1979), also on streams without boundaries.

    ``optimizer="sgd"`` (HiDe-Prompt): momentum 0.9, in epoch e of E the rate is
    ``lr (1 + cos(pi e / E)) / 2``. ``"adamw"`` (VQ-Prompt, SMoPE): the cosine is per batch and ends
    at 1e-6.

    Options by the first task of a class, which :meth:`end_task` counts (periods on streams without
    boundaries): ``mean_scale="task"`` and ``logit_norm`` of SLCA (ICCV 2023, arXiv 2303.05118),
    ``feature_scale`` of SLCA++ (arXiv 2408.08295). The published SLCA computes the task of a class
    from its number and the size of the current task, which is wrong for tasks of different sizes.

    Deviations: an epoch has as many batches as seen classes; published: as classes of earlier
    tasks, which are very few with one class per task. Only the samples used are drawn.
    K-means is seeded by this module's generator; published: by the global one.

    Args:
        dim: width of a feature.
        n_classes: columns of the head.
        statistics: see above.
        n_centroids: per class; only for ``centroids``.
        samples: draws per class (``centroids``: per centroid) in the shuffled pool; also the batch
            size. Published: five times the training batch.
        epochs: of an alignment.
        lr: rate at the start.
        optimizer: see above.
        weight_decay: of the head.
        unbiased: divide covariances and variances by the number of features less one (SLCA).
        mean_scale: ``"task"`` shortens the means of earlier tasks' classes (SLCA).
        feature_scale: share per task by which draws of earlier tasks are shortened (SLCA++: 0.02).
        logit_norm: temperature of logits divided by their norms (SLCA: 0.1).
        seed: of draws, order and k-means.

    Example:
        >>> alignment = GaussianHeadAlignment(4, 3, statistics="variance", samples=16, epochs=2)
        >>> alignment.observe(torch.randn(20, 4), torch.arange(20) % 2)
        >>> head = nn.Linear(4, 3)
        >>> alignment.align(head)
        >>> alignment.observed.tolist()
        [True, True, False]
    """

    class_axes: ClassVar = {"count": 0, "mean": 0, "spread": 0, "first": 0}
    count: Tensor
    mean: Tensor
    spread: Tensor
    first: Tensor
    """First task of each class (classes,); -1 for none."""
    task: Tensor
    """Number of the current task, from 0."""

    def __init__(
        self,
        dim: int,
        n_classes: int,
        *,
        statistics: GaussianStatistics = "centroids",
        n_centroids: int = 10,
        samples: int = 120,
        epochs: int = 30,
        lr: float = 0.005,
        optimizer: AlignmentOptimizer = "sgd",
        weight_decay: float = 5e-4,
        unbiased: bool = False,
        mean_scale: MeanScale | None = None,
        feature_scale: float | None = None,
        logit_norm: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.statistics = statistics
        self.samples = samples
        self.epochs = epochs
        self.lr = lr
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.unbiased = unbiased
        self.mean_scale = mean_scale
        self.feature_scale = feature_scale
        self.logit_norm = logit_norm
        self.generator = torch.Generator().manual_seed(seed)
        n = n_centroids if statistics == "centroids" else 1
        spread = (dim, dim) if statistics == "covariance" else (dim,)
        # spread: sums of squares around the mean
        self.register_buffer("count", torch.zeros(n_classes, n))
        self.register_buffer("mean", torch.zeros(n_classes, n, dim))
        self.register_buffer("spread", torch.zeros(n_classes, n, *spread))
        self.register_buffer("first", torch.full((n_classes,), -1))
        self.register_buffer("task", torch.zeros((), dtype=torch.int64))

    def fresh(self, name: str, rows: Tensor) -> None:
        """Initialise the rows of new classes."""
        rows.fill_(-1 if name == "first" else 0)

    @property
    def observed(self) -> Tensor:
        """Boolean mask (classes,) of the classes with statistics."""
        return (self.count > 0).any(dim=1)

    @property
    def ages(self) -> Tensor:
        """Tasks (classes,) since the first one of each class; 0 for unseen classes."""
        return torch.where(self.first < 0, 0, self.task - self.first)

    def end_task(self) -> None:
        """Count a task: new classes belong to the next one."""
        self.task += 1

    @torch.no_grad()
    def observe(
        self,
        features: Tensor,
        labels: Tensor,
        *,
        rows: Tensor | None = None,
        classes: Sequence[int] | None = None,
    ) -> None:
        """Add features to the statistics; ``centroids`` replaces those of a class.

        Args:
            features: (n, dim), as the head reads them in evaluation.
            labels: (n,) class ids.
            rows: (n,) boolean mask of the samples that count; None for all.
            classes: possible classes, without which ``covariance`` synchronises with a GPU;
                ``variance`` never does, ``centroids`` always.
        """
        features = features.to(self.mean.dtype)
        if self.statistics == "variance":
            self._add_to_variances(features, labels, rows)
            classes = ()
        for c in labels.unique().tolist() if classes is None else classes:
            mine = labels == c if rows is None else (labels == c) & rows
            if self.statistics == "centroids":
                self._cluster(c, features[mine])
            elif classes is None:
                self._add_to_covariance(c, features[mine])
            else:
                self._add_to_covariance(c, features, mine)
        self.first = torch.where((self.first < 0) & self.observed, self.task, self.first)

    def align(self, head: nn.Module) -> None:
        """Train ``head`` on draws of the classes with statistics, which alone compete.

        Args:
            head: maps features (batch, dim) to logits (batch, classes); all its parameters train.
        """
        self.fit(head, (self.draw() for _ in range(self.epochs)), self.observed)

    def fit(self, head: nn.Module, epochs: Iterable[Sequence[Batch]], seen: Tensor) -> None:
        """Train ``head`` on given batches, with the alignment's optimizer, schedule and loss.

        Args:
            head: to be trained.
            epochs: batches of features and labels per epoch.
            seen: (classes,) mask of the competing classes.
        """
        parameters, decay = list(head.parameters()), self.weight_decay
        optimizer: Optimizer = torch.optim.AdamW(parameters, self.lr, weight_decay=decay)
        if self.optimizer == "sgd":
            optimizer = torch.optim.SGD(parameters, self.lr, 0.9, weight_decay=decay)
        for epoch, batches in enumerate(epochs):
            for i, (features, labels) in enumerate(batches):
                rate = self._rate(epoch, i / len(batches))
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.zero_grad()
                self.loss(head(features), labels, seen).backward()
                optimizer.step()

    def loss(self, logits: Tensor, labels: Tensor, seen: Tensor) -> Tensor:
        """Return the cross-entropy over the seen classes, of normed logits with ``logit_norm``."""
        if self.logit_norm is not None:
            # A class without draws belongs to the current task.
            first = torch.where(self.first < 0, self.task, self.first)
            # nu = mean over tasks j of (|o over the classes of j| + 1e-7);  o / (nu temperature)
            norms = [
                logits[:, seen & (first == task)].norm(dim=1) + 1e-7
                for task in first[seen].unique().tolist()
            ]
            logits = logits / (torch.stack(norms).mean(dim=0)[:, None] * self.logit_norm)
        return F.cross_entropy(logits.masked_fill(~seen, float("-inf")), labels)

    def means(self) -> Tensor:
        """Return the means (classes, components, dim) of draws, before ``feature_scale``."""
        if self.mean_scale is None:
            return self.mean
        # s_c = 0.9 + 0.1 (t_c + 1) / (t + 1)
        scales = 0.9 + 0.1 * (self.first.to(self.mean.dtype) + 1) / (self.task + 1)
        return self.mean * scales[:, None, None]

    def scaled(self, features: Tensor, labels: Tensor, uniform: Tensor) -> Tensor:
        """Shorten draws (n, dim) of classes (n,) by ``feature_scale``, varied by ``uniform``
        (n,)."""
        if self.feature_scale is None:
            return features
        # 1 / (1 + r age), r = mu_s + 0.02 (U - 1/2)
        rate = self.feature_scale + SPREAD * (uniform.to(features) - 0.5)
        scales = 1 / (1 + rate * self.ages[labels])
        return features * scales[:, None]

    @torch.no_grad()
    def scale_rows(self, head: nn.Linear) -> None:
        """Scale the rows of earlier tasks by ``1 + feature_scale * age``, in place (SLCA++)."""
        if self.feature_scale is not None:
            ages = self.ages.to(head.weight.dtype)[:, None]
            head.weight.mul_(1 + self.feature_scale * ages)

    @torch.no_grad()
    def draw(self, n_batches: int | None = None) -> list[Batch]:
        """Draw the batches of one epoch: features (samples, dim) and labels (samples,).

        They are the first ``n_batches`` (None: as many as classes) of a shuffled pool with
        ``samples`` draws of every component of every class, on the device of the statistics.
        """
        usable = self.count > 0
        if self.statistics == "centroids":
            usable = usable & (self.spread.sum(dim=-1) > 0)
        # Class and component of all usable Gaussians, on the CPU.
        components = usable.nonzero().cpu()
        n_batches = int(self.observed.sum()) if n_batches is None else n_batches
        # Equally many samples of each Gaussian, so that all classes have the same weight.
        pool = components.repeat_interleave(self.samples, dim=0)
        order = torch.randperm(len(pool), generator=self.generator)[: n_batches * self.samples]
        chosen = pool[order]
        features = self._sample(chosen)
        labels = chosen[:, 0].to(features.device)
        if self.feature_scale is not None:
            uniform = torch.rand(len(labels), generator=self.generator)
            features = self.scaled(features, labels, uniform)
        return list(zip(features.split(self.samples), labels.split(self.samples), strict=True))

    def get_extra_state(self) -> Tensor:
        """Return the state of the generator."""
        return self.generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the state of the generator."""
        self.generator.set_state(state.to("cpu", torch.uint8))

    def _sample(self, chosen: Tensor) -> Tensor:
        """Draw features (n, dim) for classes and components (n, 2)."""
        device = self.mean.device
        noise = torch.randn(len(chosen), self.mean.shape[-1], generator=self.generator).to(device)
        # mean + noise * sqrt(variance + 1e-4), or mean + noise L' with L L' = covariance + 1e-4 I
        c, k = chosen.to(device).unbind(1)
        mean, count = self.means()[c, k], self._divisor()[c, k][:, None]
        if self.statistics != "covariance":
            return mean + noise * (self.spread[c, k] / count + RIDGE).sqrt()
        for label in chosen[:, 0].unique().tolist():
            rows = (chosen[:, 0] == label).to(device)
            noise[rows] = noise[rows] @ torch.linalg.cholesky(self.covariance(label)).T
        return mean + noise

    def covariance(self, label: int) -> Tensor:
        """Return the covariance (dim, dim) of a class's draws, for ``"covariance"`` only."""
        covariance = self.spread[label, 0] / self._divisor()[label, 0]
        covariance.diagonal().add_(RIDGE)
        return covariance

    def _divisor(self) -> Tensor:
        return (self.count - 1).clamp(min=1) if self.unbiased else self.count

    def _add_to_variances(self, x: Tensor, labels: Tensor, rows: Tensor | None) -> None:
        """Update the diagonals of all classes at once, without a synchronisation."""
        onehot = F.one_hot(labels, len(self.mean)).to(x.dtype)
        onehot = onehot if rows is None else onehot * rows[:, None]
        n = onehot.sum(dim=0)[:, None]
        old = self.count.clone()
        # Chan et al.: scatter within the batch, plus n N / (n + N) shift^2
        batch_mean = onehot.T @ x / n.clamp(min=1)
        shift = batch_mean - self.mean[:, 0]
        inside = x - onehot @ batch_mean
        total = (old + n).clamp(min=1)
        self.spread[:, 0] += onehot.T @ inside.square() + shift.square() * (old * n / total)
        self.mean[:, 0] += shift * (n / total)
        self.count += n

    def _add_to_covariance(self, c: int, x: Tensor, rows: Tensor | None = None) -> None:
        weight = x.new_ones(len(x)) if rows is None else rows.to(x.dtype)
        n, old = weight.sum(), self.count[c, 0].clone()
        # Chan et al.: scatter within the batch, plus n N / (n + N) shift shift'
        batch_mean = weight @ x / n.clamp(min=1)
        shift = batch_mean - self.mean[c, 0]
        inside = (x - batch_mean) * weight[:, None]
        total = (old + n).clamp(min=1)
        between = old * n / total
        self.spread[c, 0] += inside.T @ inside + torch.outer(shift, shift) * between
        self.mean[c, 0] += shift * n / total
        self.count[c, 0] += n

    def _cluster(self, c: int, x: Tensor) -> None:
        from sklearn.cluster import KMeans  # here, since the import takes a second

        if not len(x):
            return
        n = min(self.count.shape[1], len(x))
        seed = int(torch.randint(2**31 - 1, (), generator=self.generator))
        labels = KMeans(n, n_init=10, random_state=seed).fit(x.cpu().double().numpy()).labels_
        # A class is a mixture of clusters, each with count, mean and sum of squares.
        cluster = torch.from_numpy(labels).to(x.device)
        for buffer in (self.count, self.mean, self.spread):
            buffer[c] = 0
        for k in range(n):
            mine = x[cluster == k]
            # Equal features form fewer clusters.
            if len(mine):
                self.count[c, k] = len(mine)
                self.mean[c, k] = mine.mean(dim=0)
                self.spread[c, k] = (mine - mine.mean(dim=0)).square().sum(dim=0)

    def _rate(self, epoch: int, part: float) -> float:
        # HiDe-Prompt: by epochs, lr (1 + cos(pi e / E)) / 2. VQ-Prompt, SMoPE: by batches, to 1e-6.
        last, done = (0.0, epoch) if self.optimizer == "sgd" else (LAST_RATE, epoch + part)
        return last + (self.lr - last) * (1 + math.cos(math.pi * done / self.epochs)) / 2
