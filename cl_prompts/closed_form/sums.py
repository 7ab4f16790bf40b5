"""Addition and subtraction of states that are sums over samples.

A module declares which of its buffers are sums. ``summed`` names plain sums: counts, Gram matrices,
cross products. ``mean`` and ``scatter`` (one, or one per class) that belong to a ``count`` combine
by the pairwise update of Chan, Golub and LeVeque (1979), which keeps the precision of centred sums.
``drawn`` names tensors that must be equal in both, such as random projections. ``unsummed`` names
buffers that the hook ``combined`` updates, or that stay as they are. Non-persistent buffers follow
from others. A floating buffer that none of these names is an error. The method ``limits`` says what
the state does not allow (:class:`Limits`). The hook ``combined`` updates state that follows from
the sums.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cl_prompts.errors import InputError

#: Names of centred sums: one for all classes, or one per class.
SCATTERS = ("scatter", "scatters")


class Limits(NamedTuple):
    """Why a state cannot be added or subtracted, or depends on the order of the stream.

    Example:
        >>> Limits(add="it moves").reason(-1)
        'it moves'
    """

    add: str | None = None
    subtract: str | None = None
    order: str | None = None

    def reason(self, sign: int) -> str | None:
        """Why the state cannot be added (sign 1) or subtracted (-1), or None."""
        return self.add or (self.subtract if sign < 0 else None)


@torch.no_grad()
def combine(whole: Any, other: Any, sign: int, unchanged: tuple[type[nn.Module], ...] = ()) -> None:
    """Add the sums of another module to those of this one, or subtract them, in place.

    Args:
        whole: a module; its submodules are combined too.
        other: a module of the same kind and size. Subtracted sums must be part of ``whole``.
        sign: 1 adds, -1 subtracts.
        unchanged: types of submodules to leave as they are.

    Raises:
        InputError: a state is not a sum, or random projections differ.
    """
    parts = zip(whole.modules(), other.modules(), strict=True)
    pairs = [pair for pair in parts if not isinstance(pair[0], unchanged)]
    for part, theirs in pairs:
        _check_combinable(part, theirs, sign)
    # Classes without a remaining sample are set to exactly zero.
    empty = (whole.count <= other.count).nonzero().flatten() if sign < 0 else None
    for part, theirs in pairs:
        for name, value in _combined(part, theirs, sign).items():
            getattr(part, name).copy_(value)
        for tensor, axis in sums_of(part).values():
            if empty is not None and axis is not None:
                tensor.index_fill_(axis, empty, 0)
        if hasattr(part, "combined"):
            part.combined(theirs, sign)


@torch.no_grad()
def zero(module: Any) -> None:
    """Reset all sums of a module and its submodules to zero."""
    for part in module.modules():
        for name in sums_of(part):
            getattr(part, name).zero_()
        if hasattr(part, "combined"):
            part.combined(None, 0)


def sums_of(part: nn.Module) -> dict[str, tuple[Tensor, int | None]]:
    """Return the sums of one module: name -> (tensor, class axis or None)."""
    axes = getattr(part, "class_axes", {})
    centred = ("mean", *SCATTERS) if "count" in getattr(part, "summed", ()) else ()
    names = [*getattr(part, "summed", ()), *(n for n in centred if _has(part, n))]
    return {name: (getattr(part, name), axes.get(name)) for name in names}


def not_sums(module: nn.Module, sign: int = 1) -> str | None:
    """Return why a state cannot be added (sign 1) or subtracted (-1), or None."""
    return next(filter(None, (_reason(part, sign) for part in module.modules())), None)


def order_matters(module: nn.Module) -> str | None:
    """Why a state depends on the order of the stream; None if scores are equal in any order."""
    return next(filter(None, (limits.add or limits.order for limits in _limits_of(module))), None)


def _limits_of(module: nn.Module) -> Iterator[Limits]:
    parts: Iterator[Any] = module.modules()
    return (part.limits() for part in parts if hasattr(part, "limits"))


def rearranged(
    module: nn.Module, state: Mapping[str, Tensor], places: Sequence[int]
) -> dict[str, Tensor]:
    """Return the state of a module with other classes.

    Args:
        module: it declares the class axes.
        state: of the module or of one of equal kind, such as its ``state_dict()``.
        places: for each new class its number in the state; -1: zeros.

    Example:
        >>> part = nn.Linear(1, 2)
        >>> part.class_axes = {"bias": 0}
        >>> rearranged(part, {"bias": torch.tensor([1.0, 2.0])}, [1, -1, 0])
        {'bias': tensor([2., 0., 1.])}
    """
    axes = {}
    for path, part in module.named_modules():
        for name, axis in getattr(part, "class_axes", {}).items():
            axes[f"{path}.{name}" if path else name] = axis
    found = dict(state)
    for name in axes.keys() & state.keys():
        value, axis = state[name], axes[name]
        nothing = value.new_zeros([1 if i == axis else n for i, n in enumerate(value.shape)])
        chosen = torch.tensor(places, dtype=torch.long, device=value.device)
        chosen = chosen.where(chosen >= 0, value.shape[axis])
        found[name] = torch.cat([value, nothing], axis).index_select(axis, chosen)
    return found


def _has(part: object, name: str) -> bool:
    return isinstance(getattr(part, name, None), Tensor)


def _reason(part: Any, sign: int) -> str | None:
    """Why one module cannot be combined, or None."""
    found: str | None = part.limits().reason(sign) if hasattr(part, "limits") else None
    # Without this, the sums of a buffer that nobody declared would be dropped.
    named = {*sums_of(part), *getattr(part, "drawn", ()), *getattr(part, "unsummed", ())}
    for name, value in () if found else part.named_buffers(recurse=False):
        computed = name in getattr(part, "_non_persistent_buffers_set", ())
        if value.is_floating_point() and not computed and name not in named:
            return (
                f"its buffer {type(part).__name__}.{name} is not declared. Name it in summed, drawn"
                " or unsummed, or register it with persistent=False"
            )
    return found


def _check_combinable(part: object, theirs: object, sign: int) -> None:
    for one in (part, theirs):
        reason = _reason(one, sign)
        if reason:
            raise InputError(f"{type(one).__name__} cannot be combined: {reason}")
    for name in getattr(part, "drawn", ()):
        if _has(part, name) and not torch.equal(getattr(part, name), getattr(theirs, name)):
            raise InputError(
                f"{type(part).__name__}: {name} differs: train both with the same seed and settings"
            )


def _combined(part: Any, theirs: Any, sign: int) -> dict[str, Tensor]:
    """Sums of both modules; means and scatters about them by Chan et al."""
    plain = getattr(part, "summed", ())
    found = {name: getattr(part, name).add(getattr(theirs, name), alpha=sign) for name in plain}
    if "count" not in plain or not _has(part, "mean"):
        return found
    total = found["count"].clamp(min=1)
    shift = (theirs.mean - part.mean) * (theirs.count / total)[:, None]
    found["mean"] = part.mean + sign * shift
    found |= {name: _scatter(part, theirs, name, sign) for name in SCATTERS if _has(part, name)}
    if sign < 0 and "scatters" in found:
        # One sample has no scatter, and rounding would be taken for one.
        found["scatters"][total == 1] = 0
    return found


def _scatter(part: Any, theirs: Any, name: str, sign: int) -> Tensor:
    """S + S' + n m / (n + m) shift shift'; a subtraction solves this for the other part."""
    n, m = part.count, theirs.count
    between = n * m / (n + sign * m).clamp(min=1)
    shift = theirs.mean - part.mean
    if name == "scatter":
        added = theirs.scatter + (shift * between[:, None]).T @ shift
    else:
        added = theirs.scatters + torch.einsum("c,ci,cj->cij", between, shift, shift)
    return getattr(part, name).add(added, alpha=sign)
