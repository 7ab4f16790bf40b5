"""MULTI-LANE: one lane of selectors, prompts and head rows per task."""

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.models import multi_lane_ops as algebra
from cl_prompts.models.base import ContinualModel, Encoding, Output, need_class_token, need_frozen
from cl_prompts.prompts.pools import check_blocks
from cl_prompts.prompts.selectors import unit_rows


class LaneHead(nn.Module):
    """Head rows of a few classes.

    Args:
        classes: data-set labels, one per row.
        dim: feature width.

    Example:
        >>> LaneHead([3, 5], dim=16).weight.shape
        torch.Size([2, 16])
    """

    classes: Tensor

    def __init__(self, classes: Sequence[int], dim: int) -> None:
        super().__init__()
        self.register_buffer("classes", torch.tensor(list(classes), dtype=torch.int64))
        self.weight = nn.Parameter(torch.zeros(len(classes), dim))
        self.bias = nn.Parameter(torch.zeros(len(classes)))


class Lane(nn.Module):
    """Parameters of one task; zero until they are initialised, copied or loaded.

    Args:
        n_selectors: selectors S.
        prompt_shape: (blocks, 2, heads, P, head dim); keys before values.
        dim: token width.

    Example:
        >>> lane = Lane(20, (5, 2, 4, 20, 4), dim=16)
        >>> heads = lane.heads.append(LaneHead([3, 5], dim=16))
        >>> lane.classes
        tensor([3, 5])
    """

    prompts: Tensor | None
    heads: list[LaneHead]
    """Head rows in the order of addition."""

    def __init__(self, n_selectors: int, prompt_shape: Sequence[int], dim: int) -> None:
        super().__init__()
        self.selectors = nn.Parameter(torch.zeros(n_selectors, dim))
        has_prompts = prompt_shape[0] > 0 and prompt_shape[3] > 0
        self.register_parameter(
            "prompts", nn.Parameter(torch.zeros(*prompt_shape)) if has_prompts else None
        )
        self.heads = nn.ModuleList()  # type: ignore[assignment]
        # A later lane or a copy may get the memory of a deleted lane.
        self._identity = object()

    @property
    def classes(self) -> Tensor:
        """(classes of this lane,) data-set labels, in the order of :meth:`logits`."""
        none = torch.empty(0, dtype=torch.int64, device=self.selectors.device)
        return torch.cat([none, *(head.classes for head in self.heads)])

    def logits(self, features: Tensor) -> Tensor:
        """(batch, dim) -> (batch, classes of this lane)."""
        found = [F.linear(features, head.weight, head.bias) for head in self.heads]
        return torch.cat([features[:, :0], *found], dim=1)

    def version(self) -> Hashable:
        """Version for caches; changes with every write to a parameter and new head rows."""
        # Torch has no public name for a tensor's version counter.
        writes = tuple((p.data_ptr(), p._version) for p in self.parameters())  # noqa: SLF001
        return self._identity, writes

    @torch.no_grad()
    def initialise(self, scale: float) -> None:
        """Draw selectors that together have norm 1 and, in each block, orthogonal keys and values.

        The elements of keys and values have std ``scale`` / sqrt(P dim).
        """
        # One orthogonal row is a random direction of unit length, whatever its shape.
        nn.init.orthogonal_(self.selectors.view(1, -1))
        for prompts in () if self.prompts is None else self.prompts:
            nn.init.orthogonal_(prompts.view(2, -1), gain=scale)


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

    lanes: list[Lane]
    """One lane per task; only the last one trains."""

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
        n_tasks: int | None = None,
    ) -> None:
        need_frozen(backbone, "lanes")
        need_class_token(backbone, "the lanes of MULTI-LANE start from")
        if prompted_blocks:
            check_blocks(backbone.depth, prompted_blocks=prompted_blocks)
        blocks = tuple(sorted(prompted_blocks))
        super().__init__(backbone, n_classes, multi_label=multi_label)
        self.pre_head_norm = pre_head_norm
        self.n_tasks = n_tasks
        attn = backbone.vit.blocks[0].attn
        # timm's heads may have another width than dim / heads.
        head_dim = attn.proj.in_features // attn.num_heads
        self.n_selectors = n_selectors
        self.prompt_shape = (len(blocks), 2, attn.num_heads, prompt_length, head_dim)
        self.prompted_blocks = blocks
        self.lanes = nn.ModuleList()  # type: ignore[assignment]
        self.lane_of: dict[int, int] = {}
        """Class -> number of its lane."""

    # ------------------------------------------------------------------ lanes and their classes

    @property
    def n_lanes(self) -> int:
        """Number of lanes; the last one trains."""
        return len(self.lanes)

    def columns(self, lane: int = -1) -> Tensor:
        """(n_classes,) boolean: the classes of a lane, by default the current one."""
        mine = torch.zeros_like(self.seen)
        mine[self.lanes[lane].classes] = True
        return mine

    def open_lane(self, classes: Iterable[int] = ()) -> None:
        """Freeze the existing lanes and open one for new classes, which count as seen.

        Args:
            classes: data-set labels; :meth:`add_classes` adds more.
        """
        lane = self._lane()
        if self.lanes:
            before = self.lanes[-1].state_dict()
            # Not the head, whose classes are others.
            lane.load_state_dict({k: v for k, v in before.items() if not k.startswith("heads.")})
        else:
            # Published: one orthogonal matrix for the prompts of all tasks.
            lane.initialise(scale=(self.n_tasks or 1) ** -0.5)
        self.lanes.append(lane)
        self._freeze_finished()
        self.add_classes(classes)

    def add_classes(self, classes: Iterable[int]) -> None:
        """Add head rows for further classes to the current lane, as separate parameters.

        Weights have std 0.02 (truncated normal), biases are 0.
        """
        if labels := list(classes):
            head = LaneHead(labels, self.backbone.dim)
            nn.init.trunc_normal_(head.weight, std=0.02)  # on the CPU: the same on every device
            self.lanes[-1].heads.append(head.to(self.seen.device))
            self.seen[head.classes] = True
            self.lane_of |= dict.fromkeys(labels, self.n_lanes - 1)

    def _lane(self) -> Lane:
        return Lane(self.n_selectors, self.prompt_shape, self.backbone.dim).to(self.seen.device)

    def _freeze_finished(self) -> None:
        """Freeze all lanes but the last, and drop their gradients."""
        for lane in list(self.lanes)[:-1]:
            lane.requires_grad_(False)
            for parameter in lane.parameters():
                parameter.grad = None

    # ------------------------------------------------------------------ forward

    def lane_features(self, images: Tensor, lanes: Sequence[int] | None = None) -> Tensor:
        """Final-norm class token of each lane, L2-normalised with ``pre_head_norm``.

        Args:
            images: (batch, 3, size, size) in [0, 1].
            lanes: lane numbers; None: all.

        Returns:
            (batch, lanes, dim) fp32, the input of the heads.
        """
        chosen = range(self.n_lanes) if lanes is None else lanes
        token = self.lane_tokens(images, [self.lanes[i] for i in chosen])
        features = self.backbone.vit.fc_norm(self.backbone.norm(token)).float()
        return unit_rows(features) if self.pre_head_norm else features

    def lane_tokens(self, images: Tensor, lanes: Sequence[Lane]) -> Tensor:
        """Run lanes beside one frozen forward pass: class tokens (batch, lanes, dim)."""
        self._count(len(images), lanes)
        dtype = self.backbone.vit.cls_token.dtype
        # (S, T, dim), and block -> (P, T, 2 * heads * head dim)
        selectors = torch.stack([lane.selectors for lane in lanes], dim=1).to(dtype)
        prompts = self.prompts_of(lanes)
        rows = algebra.joined_start(self.backbone, selectors, len(images))
        states = algebra.frozen_states(self.backbone, images)
        for i, (block, state) in enumerate(zip(self.backbone.vit.blocks, states, strict=True)):
            # No block reads the selectors after the last one.
            evolve = i < self.backbone.depth - 1
            rows = algebra.lanes_block(block, rows, state, prompts.get(i), evolve=evolve)
        return rows

    def prompts_of(self, lanes: Sequence[Lane]) -> dict[int, Tensor]:
        """Block -> prompts of all lanes in the ViT's precision."""
        values = [lane.prompts for lane in lanes if lane.prompts is not None]
        if not values:
            return {}
        # (blocks, lanes, 2, heads, length, width)
        stacked = torch.stack(values, dim=1).to(self.backbone.vit.cls_token.dtype)
        joined = stacked.permute(0, 4, 1, 2, 3, 5).flatten(3)
        return dict(zip(self.prompted_blocks, joined.unbind(), strict=True))

    def _count(self, batch: int, lanes: Sequence[Lane]) -> None:
        """Count the cost of the lanes' own tokens, and of the selectors, which images share."""
        counter, length = self.backbone.counter, self.prompt_shape[3]
        for i in range(self.backbone.depth):
            n_prompts = length if i in self.prompted_blocks else 0
            macs = counter.shape.lane_macs(self.n_selectors, n_prompts)
            counter.macs += batch * len(lanes) * macs
        counter.macs += len(lanes) * counter.shape.slot_table_macs(self.n_selectors)

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
            lanes |= {i: self.lanes[i].logits(found[:, k]) for k, i in enumerate(missing)}
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
            columns = torch.cat([self.lanes[i].classes for i in encoding.lanes])
            found = torch.cat(list(encoding.lanes.values()), dim=1)
            logits = self.hide_unseen(logits.index_copy(1, columns, found))
        return Output(logits, features)

    # ------------------------------------------------------------------ state

    def load_learned_state(self, state: dict[str, Tensor]) -> None:
        """Load a state of :meth:`learned_state`, rebuilding lanes and their classes.

        Raises:
            InputError: the state belongs to another model.
        """
        if {k: v.shape for k, v in self.learned_state().items()} != {
            k: v.shape for k, v in state.items()
        }:
            self.lanes = self._lanes_like(state)
        super().load_learned_state(state)
        self._freeze_finished()
        owners = enumerate(self.lanes)
        self.lane_of = {label: i for i, lane in owners for label in lane.classes.tolist()}

    def _lanes_like(self, state: Mapping[str, Tensor]) -> list[Lane]:
        """Make lanes with the shapes of a state dict; loading reports mismatches."""
        made: list[Lane] = nn.ModuleList()  # type: ignore[assignment]
        while f"lanes.{len(made)}.selectors" in state:
            lane = self._lane()
            of_heads = f"lanes.{len(made)}.heads."
            while (classes := state.get(f"{of_heads}{len(lane.heads)}.classes")) is not None:
                lane.heads.append(
                    LaneHead(classes.tolist(), self.backbone.dim).to(self.seen.device)
                )
            made.append(lane)
        return made
