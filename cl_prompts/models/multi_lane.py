"""MULTI-LANE: one lane of selectors, prompts and head rows per task."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError
from cl_prompts.models.base import ContinualModel, Encoding, Output, need_class_token, need_frozen
from cl_prompts.models.lanes import LaneInitialisation, LanePasses, LaneSet
from cl_prompts.prompts.pools import check_blocks
from cl_prompts.prompts.selectors import unit_rows


@dataclass
class LaneEncoding(Encoding):
    """Logits of lanes, and features of the current lane (batch, dim) or (batch, 0).

    Attributes:
        lanes: lane number -> (batch, classes of the lane) logits.

    Example:
        >>> encoding = LaneEncoding({}, lanes={0: torch.zeros(2, 5)}, features=torch.zeros(2, 16))
        >>> tuple(encoding.lanes[0].shape)
        (2, 5)
    """

    lanes: dict[int, Tensor] = field(default_factory=dict)


class MultiLaneViT(ContinualModel):
    """MULTI-LANE (De Min et al., CoLLAs 2024, arXiv 2405.15633).

    Parallel lanes summarise a frozen ViT's patch tokens. One frozen forward pass serves all lanes;
    a lane adds about 1 %. Training runs only the newest lane, on its own classes. Evaluation runs
    all lanes without a task id, and every class takes its logit from its own lane. Finished lanes
    stay frozen, so their logits can be cached (:meth:`cache_keys`).

    The algebra is in :mod:`cl_prompts.models.multi_lane_ops`. Deviations from the published code:
    lanes are made on demand, not all at the start; each lane has its own head rows; finished lanes
    leave the optimizer, so that weight decay cannot change them. The ablations (task keys, token
    merging) are not included.

    Args:
        backbone: the frozen ViT.
        n_classes: classes of the data set.
        multi_label: an image may show several classes.
        n_selectors: selectors, and so summary tokens, S per lane.
        prompt_length: prompts P per lane and prompted block: P keys and P values; 0: none.
        prompted_blocks: blocks with prompts, 0-based.
        pre_head_norm: L2-normalise a lane's feature before the head.
        init: ``"orthogonal"``: the selectors of a task together have norm 1, and in each block keys
            and values are orthogonal with element std 1 / sqrt(n_tasks P dim); ``"uniform"``: all
            in (-1, 1). From the second lane on, selectors and prompts start as copies of the
            previous lane.
        n_tasks: expected number of tasks, for the scale of the first prompts (published: known in
            advance); None: 1.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> model = MultiLaneViT(create_backbone(), n_classes=4)
        >>> model.open_lane([0, 1])
        >>> model.open_lane([3])
        >>> model.n_lanes, model.columns(0).tolist()
        (2, [True, True, False, False])
        >>> tuple(model.eval()(torch.rand(2, 3, 32, 32)).shape)
        (2, 4)
    """

    def __init__(
        self,
        backbone: FrozenViT,
        n_classes: int,
        *,
        multi_label: bool = True,
        n_selectors: int = 20,
        prompt_length: int = 20,
        prompted_blocks: Sequence[int] = (0, 1, 2, 3, 4),
        pre_head_norm: bool = True,
        init: LaneInitialisation = "orthogonal",
        n_tasks: int | None = None,
    ) -> None:
        need_frozen(backbone, "lanes")
        need_class_token(backbone, "the lanes of MULTI-LANE start from")
        if prompted_blocks:
            check_blocks(backbone.depth, prompted_blocks=prompted_blocks)
        blocks = tuple(sorted(prompted_blocks))
        super().__init__(backbone, n_classes, multi_label=multi_label)
        self.pre_head_norm = pre_head_norm
        self.init = init
        self.n_tasks = n_tasks
        attn = backbone.vit.blocks[0].attn
        # timm's heads may have another width than dim / heads.
        head_dim = attn.proj.in_features // attn.num_heads
        self.lanes = LaneSet(
            n_selectors, (len(blocks), 2, attn.num_heads, prompt_length, head_dim), backbone.dim
        )
        self.lane_of: dict[int, int] = {}
        """Class -> number of its lane."""
        self.passes = LanePasses(backbone, blocks)

    # ------------------------------------------------------------------ lanes and their classes

    @property
    def n_lanes(self) -> int:
        """Number of lanes; the last one trains."""
        return len(self.lanes)

    def columns(self, lane: int = -1) -> Tensor:
        """(n_classes,) boolean: the classes of a lane, by default the current one."""
        mine = torch.zeros_like(self.seen)
        mine[self.lanes.lane(lane).classes] = True
        return mine

    def open_lane(self, classes: Iterable[int] = (), *, copy_previous: bool = True) -> None:
        """Freeze the existing lanes and open one for new classes, which count as seen.

        Args:
            classes: data-set labels; :meth:`add_classes` adds more.
            copy_previous: copy selectors and prompts, but no head rows, from the previous lane.
        """
        # Published: one orthogonal matrix for the prompts of all tasks.
        scale = (self.n_tasks or 1) ** -0.5
        self.lanes.open(self.seen.device, init=self.init, scale=scale, copy_previous=copy_previous)
        self._add_head(list(classes))

    def add_classes(self, classes: Iterable[int]) -> None:
        """Add head rows for further classes to the current lane, as separate parameters."""
        self._add_head(list(classes))

    def _add_head(self, classes: list[int]) -> None:
        if classes:
            self.seen[self.lanes.add_head(classes).classes] = True
            self.lane_of |= dict.fromkeys(classes, self.n_lanes - 1)

    # ------------------------------------------------------------------ forward

    def lane_features(self, images: Tensor, lanes: Sequence[int] | None = None) -> Tensor:
        """Final-norm class token of each lane, L2-normalised with ``pre_head_norm``.

        Args:
            images: (batch, 3, size, size) in [0, 1].
            lanes: lane numbers; None: all.

        Returns:
            (batch, lanes, dim) fp32, the input of the heads.
        """
        chosen = list(range(self.n_lanes) if lanes is None else lanes)
        token = self.passes(images, [self.lanes.lane(i) for i in chosen])
        features = self.backbone.vit.fc_norm(self.backbone.norm(token)).float()
        return unit_rows(features) if self.pre_head_norm else features

    # ------------------------------------------------------------------ logits

    def cache_keys(self) -> dict[str, Hashable]:
        """``"lane0"``, ``"lane1"``, ... -> version of the lane's parameters."""
        return {f"lane{i}": lane.version() for i, lane in enumerate(self.lanes)}

    def needs_images(self, cached: Collection[str]) -> bool:
        """False if the logits of all lanes are cached."""
        return not self.n_lanes or not set(self.cache_keys()) <= set(cached)

    def encode(self, images: Tensor | None, cached: Mapping[str, Tensor]) -> LaneEncoding:
        """Compute the logits of the current lane (training) or of all lanes (evaluation).

        ``cached`` (evaluation only): lane name -> (batch, classes of the lane) logits.
        """
        wanted = [self.n_lanes - 1] if self.training else list(range(self.n_lanes))
        lanes = {i: cached[f"lane{i}"] for i in wanted if f"lane{i}" in cached}
        missing = [i for i in wanted if i not in lanes]
        sample = images if images is not None else next(iter(lanes.values()))
        features = sample.new_empty(len(sample), 0, dtype=torch.float32)
        if missing and images is not None:
            found = self.lane_features(images, missing)
            lanes |= {i: self.lanes.lane(i).logits(found[:, k]) for k, i in enumerate(missing)}
            features = found[:, -1] if missing[-1] == self.n_lanes - 1 else features
        lanes = {i: lanes[i] for i in wanted}
        parts = {} if self.training else {f"lane{i}": logits for i, logits in lanes.items()}
        return LaneEncoding(parts, lanes=lanes, features=features)

    def decode(self, encoding: Encoding) -> Output:
        """Assemble the logits: each class takes its logit from its own lane.

        Classes unseen, or in training outside the current lane, get 0 (multi-label) or -inf.
        ``features`` are the current lane's, or (batch, 0) if that lane was cached.
        """
        assert isinstance(encoding, LaneEncoding)
        assert encoding.features is not None
        features = encoding.features
        hidden = 0.0 if self.multi_label else -torch.inf
        shape = (len(features), self.n_classes)
        logits = torch.full(shape, hidden, device=features.device)
        if encoding.lanes:
            # Lane i scores only its own classes.
            columns = torch.cat([self.lanes.lane(i).classes for i in encoding.lanes])
            found = torch.cat(list(encoding.lanes.values()), dim=1)
            logits = self.hide_unseen(logits.index_copy(1, columns, found))
        return Output(logits, features)

    # ------------------------------------------------------------------ state

    def load_learned_state(self, state: dict[str, Tensor]) -> None:
        """Load a state of :meth:`learned_state`, rebuilding lanes and their classes.

        Raises:
            InputError: the state belongs to another model; this one is then unchanged.
        """
        before = self.lanes
        if {k: v.shape for k, v in self.learned_state().items()} != {
            k: v.shape for k, v in state.items()
        }:
            self.lanes = self.lanes.like(state, self.seen.device, "lanes.")
        try:
            super().load_learned_state(state)
        except InputError:
            self.lanes = before
            raise
        self.lanes.freeze_finished()
        self.lane_of = self.lanes.owners()
