"""MVP's losses: contrastive keys, adaptive feature scaling, gradient-similarity weights.

Moon, Park, Kim, Park, "Online Class Incremental Learning on Stochastic Blurry Task Boundary via
Mask and Visual Prompt Tuning", ICCV 2023, https://arxiv.org/abs/2308.09303. The defaults are the
forms evidently intended; the variants of the published code have names.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.models.base import Output
from cl_prompts.prompts.selectors import Selection, unit_rows

COSINE_EPS = 1e-8
Pairs = Literal["own", "all"]


def contrastive_key_loss(key: Tensor, selection: Selection, *, pairs: Pairs = "own") -> Tensor:
    """Return the contrastive loss: pull a selected key to its query, and away from other keys.

    With kappa[p, r] = 1 - cos(key_p, key_r), delta[i, p] the query-key distance, s_i the selected
    prompt and a_p its scale (1 + selection count, which acts as a temperature)::

        N = mean_{i,r} exp(kappa[s_i, r] / a_{s_i}),   P = mean_i exp(delta[i, s_i] / a_{s_i})
        L = -log(N / (P + N) + 1e-6)

    Args:
        key: (pool, dim), the only tensor that receives gradient.
        selection: of a batch; with k > 1 every (image, selected prompt) is one pair.
        pairs: ``"own"``, as above, or ``"all"``: the published code's broadcast, which divides
            every image's distances by every image's scale before averaging (mean over i and j of
            exp(. [s_j] / a_{s_i})).

    Returns:
        scalar.
    """
    # kappa[p, r] = 1 - cos(key_p, key_r); the diagonal, 0, is included
    unit = unit_rows(key) if selection.unit is None else selection.unit
    chosen = selection.index.flatten()
    # kappa[s_i, r], (batch * k, pool): of a large pool only the rows that are read
    few = len(chosen) < len(key)
    rows = F.embedding(chosen, unit if few else unit @ unit.T)
    negative = 1 - (rows @ unit.T if few else rows)
    # delta[i, s_i] behind them, as a further column
    positive = selection.distance.gather(1, selection.index).view(-1, 1)
    scale = selection.scale[chosen][:, None]
    # "own": the scale a_{s_i} of each image's own prompt; else those of all images of the batch, by
    # broadcasting
    scale = scale if pairs == "own" else scale[:, None]
    terms = torch.cat([negative, positive], dim=1) / scale
    n, p = (part.mean() for part in terms.exp().split([len(key), 1], dim=-1))
    # L = -log(N / (P + N) + 1e-6) = log(P + N) - log(N + 1e-6 (P + N))
    both = p + n
    return both.log() - torch.add(n, both, alpha=1e-6).log()


def key_distance(selection: Selection) -> Tensor:
    """Return the mean distance of queries and selected keys: the loss without contrast."""
    return selection.distance.gather(1, selection.index).mean()


@torch.no_grad()
def adaptive_scale(features: Tensor, labels: Tensor, weight: Tensor, margin: float) -> Tensor:
    """Adaptive feature scaling (AFS): c_i = 1 - cos(W[y_i], f_i) + margin, in [margin, 2 + margin].

    Features are divided by c_i in training, so an image whose feature already lies along its class
    row gets larger logits. Training only: it reads the label.

    Args:
        features: (batch, dim).
        labels: (batch,) head rows.
        weight: (classes, dim) head weight.
        margin: keeps the scale away from zero.

    Returns:
        (batch,), without gradient.
    """
    # c_i = 1 - cos(W[y_i], f_i) + margin
    return 1 + margin - _cosine(weight[labels], features)


def _cosine(x: Tensor, y: Tensor) -> Tensor:
    """Cosines of rows (batch, dim) -> (batch,): ``F.cosine_similarity`` in half the kernels."""
    x, y = F.normalize(torch.stack([x, y]), dim=-1, eps=COSINE_EPS)
    return (x * y).sum(dim=-1)


@torch.no_grad()
def gradient_dissimilarity(
    features: Tensor, probabilities: Tensor, labels: Tensor, mask: Tensor | None
) -> Tensor:
    """Return the deviation of each sample's gradient on its class row from the batch's (GSF).

    In closed form, no per-sample backward pass: with A[i, c] = (p_i[c] - [c = y_i]) mask_i[c],
    g_i = A[i, y_i] f_i is sample i's cross-entropy gradient with respect to row W[y_i], G = A^T F /
    batch the gradient of the batch mean, and the result is e_i = 1 - cos(g_i, G[y_i]).

    Args:
        features: (batch, dim) unscaled features.
        probabilities: (batch, classes) softmax of the unscaled masked logits.
        labels: (batch,).
        mask: (batch, classes) instance mask or None.

    Returns:
        (batch,) in [0, 2], without gradient.
    """
    # A[i, c] = (p_i[c] - [c = y_i]) mask_i[c]
    a = probabilities.scatter(1, labels[:, None], -1.0, reduce="add")
    a = a if mask is None else a * mask
    # g_i = A[i, y_i] f_i, and of G = A^T F / batch the rows G[y_i] only
    own = a.gather(1, labels[:, None]) * features
    batch = a[:, labels].T @ features / len(features)
    # e_i = 1 - cos(g_i, G[y_i]); rounding can take it below 0, where e^gamma is undefined.
    return (1 - _cosine(own, batch)).clamp(min=0)


def mvp_classification_loss(
    output: Output,
    labels: Tensor,
    head: nn.Linear,
    competing: Tensor,
    *,
    use_afs: bool = True,
    use_gsf: bool = True,
    alpha: float = 0.5,
    gamma: float = 2.0,
    margin: float = 0.5,
    gsf_reduction: Literal["sample", "batch_mean"] = "sample",
) -> Tensor:
    """Return the cross-entropy of scaled, masked logits, weighted by gradient similarity.

    With l_i the cross-entropy and w_i = 1 - alpha + alpha e_i^gamma: ``mean(w_i l_i)``.

    Args:
        output: of the forward pass.
        labels: (batch,) head rows.
        head: the linear head that computed ``output``.
        competing: (classes,) boolean, the classes seen, or those of the batch.
        use_afs: scale features (see :func:`adaptive_scale`).
        use_gsf: weight samples (see :func:`gradient_dissimilarity`).
        alpha: share of the gradient-similarity weight.
        gamma: its exponent.
        margin: of the adaptive scale.
        gsf_reduction: ``"sample"``, as above, or ``"batch_mean"``: the published code's
            ``mean(w) * mean(l)``, in which the weights of samples degenerate to one scalar for the
            batch.

    Returns:
        scalar.
    """
    hidden = ~competing
    logits = output.logits
    if use_afs:  # z_i = (W (f_i / c_i) + b) mask_i
        scale = adaptive_scale(output.features, labels, head.weight, margin)
        logits = head(output.features / scale[:, None])
        logits = logits if output.mask is None else logits * output.mask
    # l_i, and with w_i from the unscaled logits mean(w_i l_i)
    loss = F.cross_entropy(logits.masked_fill(hidden, -torch.inf), labels, reduction="none")
    if not use_gsf:
        return loss.mean()
    p = output.logits.detach().masked_fill(hidden, -torch.inf).softmax(dim=1)
    e = gradient_dissimilarity(output.features, p, labels, output.mask)
    # w_i = 1 - alpha + alpha e_i^gamma
    # torch.rsub(x, y, alpha) is y - alpha x, in one kernel.
    weight = torch.rsub(e**gamma, 1 - alpha, alpha=-alpha)
    return (weight * loss).mean() if gsf_reduction == "sample" else weight.mean() * loss.mean()
