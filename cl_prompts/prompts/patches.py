"""Selection of the patches that a prompted forward pass computes."""

from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError
from cl_prompts.seeds import derived_seed

#: patches that have to stay
FEWEST = 8


@dataclass
class PatchSelection:
    """Part of the patches of each image for prompted forward passes in training.

    CPS-Prompt, CVPR 2026. In the last block of the query pass, patch j has the score ``s_j = mean
    over heads of A[cls, j] * ||V_j||``. Standardised over the patches, ``z = (s - mean) / std``,
    the k largest of ``z / temperature + g`` stay in their order, with Gumbel noise g: k draws
    without replacement from ``softmax(z / temperature)``. Without scores the draws are uniform.
    Class and register tokens stay. Tests use all patches, or the k largest of z.

    Args:
        share: share K of the patches, ``k = ceil(K n)``.
        temperature: see above.
        in_tests: select in tests as well.
        dense_epochs: last epochs of each announced task that train the head alone on all patches;
            0: the last of several updates on a stream batch does.
        seed: of the noise, together with ``update``.

    Attributes:
        update: number of the update that draws.
        head_alone: whether this update trains the head alone, on all patches.

    Example:
        >>> scores = torch.tensor([[0.1, 0.5, 0.2, 0.9]])  # of 4 patches behind a class token
        >>> PatchSelection(0.5).kept(scores, prefix=1, noisy=False).tolist()
        [[0, 2, 4]]
    """

    share: float
    temperature: float = 0.5
    in_tests: bool = False
    dense_epochs: int = 0
    seed: int = 0
    update: int = 0
    head_alone: bool = False

    def check(self, backbone: FrozenViT, *, multi_label: bool, asks: bool) -> None:
        """Refuse a model that cannot leave out patches.

        Args:
            backbone: of the model.
            multi_label: an image may show several classes.
            asks: whether the query pass scores patches.

        Raises:
            InputError: several labels per image, features other than class tokens, too few patches,
                or a selection in tests without scores.
        """
        what = f"tokens={self.share:g}"
        if multi_label:
            raise InputError(f"{what} is defined for one class per image: leave it out")
        # Query passes read what the ViT itself reads.
        if not (backbone.features.class_only and (backbone.own.class_only or not asks)):
            raise InputError(
                f"{what} needs a ViT that reads its class token, and this one averages or pools"
                " patches: leave it out, or use another ViT"
            )
        n = backbone.counter.shape.n_patches
        if self.count(n) < FEWEST:
            raise InputError(
                f"{what} leaves {self.count(n)} of {n} patches, and {FEWEST} must stay: give more"
                " tokens or larger images"
            )
        if self.in_tests and not asks:
            raise InputError(
                "tokens_test=same needs patches that a whole query pass scores, and here they are"
                " drawn uniformly: leave it out"
            )

    def count(self, n: int) -> int:
        """Return the number of patches that stay of ``n``."""
        return ceil(self.share * n - 1e-9)  # 0.07 * 100 is 7.000000000000001

    def selects(self, *, training: bool) -> bool:
        """Return whether a forward pass leaves out patches."""
        return not self.head_alone if training else self.in_tests

    @torch.no_grad()
    def kept(self, scores: Tensor, prefix: int, *, noisy: bool) -> Tensor:
        """Select the tokens that stay.

        Args:
            scores: (batch, patches), equal for a uniform choice.
            prefix: class and register tokens, which stand before the patches.
            noisy: add the noise of ``seed`` and ``update``.

        Returns:
            (batch, prefix + k) places of tokens, increasing
        """
        std, mean = torch.std_mean(scores, dim=1, correction=0, keepdim=True)
        z = (scores - mean) / std.clamp_min(1e-12)
        if noisy:
            # On the CPU, so that patches are the same on any device: g = -log(E), E ~ Exp(1)
            generator = torch.Generator().manual_seed(derived_seed(self.seed, self.update))
            noise = -torch.empty(z.shape).exponential_(generator=generator).log()
            z = z / self.temperature + noise.to(z.device)
        # A stable sort gives ties to the first patch.
        best = z.sort(dim=1, descending=True, stable=True).indices[:, : self.count(z.shape[1])]
        always = torch.arange(prefix, device=z.device).expand(len(z), -1)
        return torch.cat([always, prefix + best.sort(dim=1).values], dim=1)
