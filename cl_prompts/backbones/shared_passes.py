"""Passes of a frozen ViT that several runs need: one makes them, the others take them over.

Runs of one seed see the same views in the same batches, whatever their method. MVP's query of a
batch, or the feature under a linear probe, is then the same number for number.
"""

from __future__ import annotations

import hashlib
import mmap
import secrets
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from cl_prompts.backbones import ranks
from cl_prompts.backbones.cost import Counts, PassCounter
from cl_prompts.backbones.fingerprint import backbone_hash

try:
    import fcntl
except ImportError:  # Windows, where no process is forked
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from cl_prompts.backbones.vit import FrozenViT

#: bytes of results, 87,000 of a ViT-B
BUDGET = 2**28
#: at the beginning: where the records end
_END = struct.Struct("<Q")
#: before each result: its key, where the next record begins, the run that made it, type and shape,
#: and the blocks and multiply-accumulates of the pass
_RECORD = struct.Struct("<32sQQQQQQQd")
_TYPES = (torch.float32, torch.bfloat16)


class Result(NamedTuple):
    """Result of a pass.

    Attributes:
        run: number of the run that made it.
        values: (batch, read tokens, width)
        work: of the pass.

    Example:
        >>> Result(1, torch.zeros(2, 1, 8), Counts(blocks=24)).work.blocks
        24
    """

    run: int
    values: Tensor
    work: Counts


class SharedPasses:
    """Results of passes, in memory that processes forked later share. What does not fit is not
    kept, and nobody waits for another process.

    Args:
        budget: bytes of memory, which are taken as they are filled.

    Raises:
        OSError: there is no such memory, or no file for a lock.

    Example:
        >>> shared = SharedPasses()
        >>> shared.keep(bytes(32), Result(1, torch.ones(2, 1, 8), Counts(blocks=24)))
        >>> shared.find(bytes(32)).values.shape
        torch.Size([2, 1, 8])
    """

    def __init__(self, budget: int = BUDGET) -> None:
        """Hold nothing yet."""
        self._memory = mmap.mmap(-1, budget)
        _END.pack_into(self._memory, 0, _END.size)
        # A process that dies gives its lock on a file up.
        self._lock = tempfile.TemporaryFile()  # noqa: SIM115
        self._places: dict[bytes, int] = {}
        self._read = _END.size

    def find(self, key: bytes) -> Result | None:
        """The result under a key of 32 bytes, if it is known."""
        if key not in self._places:
            with self._alone() as alone:
                if alone:
                    self._read_on()
        if key not in self._places:
            return None
        place = self._places[key]
        _, _, run, kind, *shape, blocks, macs = _RECORD.unpack_from(self._memory, place)
        values = torch.frombuffer(
            self._memory,
            dtype=_TYPES[kind],
            count=shape[0] * shape[1] * shape[2],
            offset=place + _RECORD.size,
        )
        return Result(run, values.reshape(shape).clone(), Counts(0, blocks, macs))

    def keep(self, key: bytes, result: Result) -> None:
        """Keep a result under a key of 32 bytes; what two processes make at once is kept twice."""
        values, work = result.values, result.work
        with self._alone() as alone:
            (end,) = _END.unpack_from(self._memory, 0)
            begin = end + _RECORD.size
            stop = begin + values.numel() * values.element_size()
            after = -(-stop // 8) * 8  # numbers of 8 bytes lie at multiples of 8
            if not alone or after > len(self._memory):
                return
            about = result.run, _TYPES.index(values.dtype), *values.shape, work.blocks, work.macs
            _RECORD.pack_into(self._memory, end, key, after, *about)
            self._memory[begin:stop] = _bytes_of(values)
            # Last, so that a process which dies before leaves nothing.
            _END.pack_into(self._memory, 0, after)

    def _read_on(self) -> None:
        """Note the places of results that have been added."""
        (end,) = _END.unpack_from(self._memory, 0)
        while self._read < end:
            key, after, *_ = _RECORD.unpack_from(self._memory, self._read)
            self._places[key] = self._read
            self._read = after

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether no other process is at it; none will be until the end."""
        if fcntl is None:
            yield True
            return
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # Unix allows either
            yield False
            return
        try:
            yield True
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)


def shared_passes() -> SharedPasses | None:
    """A store for the runs of one command; None where the system has no memory or file for it:
    runs can do without."""
    with suppress(OSError):
        return SharedPasses()
    return None


class PassesOfRun:
    """Passes without prompts of one run, and those that it takes over.

    A pass is known by all that enters it: the tokens, bit for bit, the weights, and the blocks that
    it runs through. What is taken over is therefore what would be computed, and counts as if it
    were.

    Args:
        shared: by the runs of a command.

    Attributes:
        taken_over: images whose pass another run had made.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> vit, images = create_backbone(), torch.rand(2, 3, 32, 32)
        >>> shared = SharedPasses()
        >>> first, second = PassesOfRun(shared), PassesOfRun(shared)
        >>> with first.serving(vit):
        ...     features = vit(images)
        >>> with second.serving(vit):
        ...     same = torch.equal(vit(images), features)
        >>> same, first.taken_over, second.taken_over
        (True, 0, 2)
    """

    def __init__(self, shared: SharedPasses) -> None:
        """Nothing is taken over yet."""
        self.taken_over = 0
        self._shared = shared
        self._run = secrets.randbits(63)
        self._weights = b""

    def __deepcopy__(self, memo: dict[int, object]) -> PassesOfRun:
        """The same: a copy of a ViT has the same passes."""
        return self

    @contextmanager
    def serving(self, backbone: FrozenViT) -> Iterator[None]:
        """Have passes of a backbone taken over, and kept for other runs: on the CPU, where no ranks
        divide a batch, and of weights that do not learn."""
        # A GPU would wait for each batch until its bits are known.
        if backbone.mean.device.type != "cpu" or ranks.is_distributed():
            yield
            return
        self._weights = backbone_hash(backbone).encode()
        backbone.passes = self
        try:
            yield
        finally:
            backbone.passes = None

    def result(
        self, blocks: object, tokens: Tensor, counter: PassCounter, compute: Callable[[], Tensor]
    ) -> Tensor:
        """The result of a pass.

        Args:
            blocks: what the pass runs through and reads, in a form whose text tells it.
            tokens: (batch, n, dim) that enter it.
            counter: of the work.
            compute: makes the pass.

        Returns:
            (batch, read tokens, width)
        """
        # Another number of threads may round sums otherwise.
        about = blocks, tuple(tokens.shape), torch.get_num_threads()
        digest = hashlib.sha256(self._weights + repr(about).encode())
        digest.update(_bytes_of(tokens))
        key = digest.digest()
        found = self._shared.find(key)
        # What the run itself has made, it makes again, as it would alone.
        if found is not None and found.run != self._run:
            counter.go_on_from(counter.counts().plus(found.work))
            self.taken_over += len(tokens)
            return found.values
        before = counter.counts()
        values = compute()
        if found is None:
            made = Result(self._run, values, counter.counts().minus(before))
            self._shared.keep(key, made)
        return values


def _bytes_of(values: Tensor) -> memoryview:
    # As bytes, since numpy has no bf16.
    return values.detach().contiguous().view(-1).view(torch.uint8).numpy().data
