"""Passes of a frozen ViT that several runs need: one makes them, the others take them over.

Runs of one seed see the same views in the same batches, whatever their method. MVP's query of a
batch, or the feature under a linear probe, is then the same number for number.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cl_prompts.backbones import ranks
from cl_prompts.backbones.cost import Counts, PassCounter
from cl_prompts.backbones.fingerprint import backbone_hash

if TYPE_CHECKING:
    from cl_prompts.backbones.vit import FrozenViT

#: bytes of results, 87,000 of a ViT-B
BUDGET = 2**28
#: at the beginning: where the records end
_END = struct.Struct("<Q")
#: before each result: its key, where the next record begins, type and shape, and the blocks and
#: multiply-accumulates of the pass
_RECORD = struct.Struct("<32sQQQQQQd")
_TYPES = (torch.float32, torch.bfloat16)


class SharedPasses:
    """Results of passes without prompts, for the runs of one command.

    A pass is known by all that enters it: the tokens, bit for bit, the weights, and the blocks that
    it runs through. What is taken over is therefore what would be computed, and counts as if it
    were. Results lie in memory that processes forked later share. Once that is full, each run makes
    its further passes itself.

    Args:
        budget: bytes of memory, which are taken as they are filled.

    Attributes:
        taken_over: images whose pass was taken over, since :meth:`serving` began.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> vit, images = create_backbone(), torch.rand(2, 3, 32, 32)
        >>> passes = SharedPasses()
        >>> with passes.serving(vit):
        ...     first, second = vit(images), vit(images)
        >>> torch.equal(first, second), passes.taken_over, vit.counter.images
        (True, 2, 4)
    """

    def __init__(self, budget: int = BUDGET) -> None:
        """Hold nothing yet."""
        self.taken_over = 0
        self._memory = mmap.mmap(-1, budget)
        _END.pack_into(self._memory, 0, _END.size)
        # Where processes fork; a lock on a file is given up by a process that dies with it.
        self._lock = os.memfd_create("passes") if hasattr(os, "memfd_create") else None
        if self._lock is not None:
            weakref.finalize(self, os.close, self._lock)
        self._places: dict[bytes, int] = {}
        self._read = _END.size
        self._weights = b""

    @contextmanager
    def serving(self, backbone: FrozenViT) -> Iterator[None]:
        """Have passes of a backbone taken over from those made before, and kept for others: on the
        CPU, where no ranks divide a batch, and of weights that do not learn."""
        self.taken_over = 0
        # A GPU would wait for each batch until its bits are known.
        if backbone.mean.device.type != "cpu" or ranks.is_distributed():
            yield
            return
        self._weights = backbone_hash(backbone).encode()
        backbone.shared_passes = self
        try:
            yield
        finally:
            backbone.shared_passes = None

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
        key = self._key(blocks, tokens)
        found = self._find(key)
        if found is not None:
            values, work = found
            counter.go_on_from(counter.counts().plus(work))
            self.taken_over += len(tokens)
            return values
        before = counter.counts()
        values = compute()
        self._keep(key, values, counter.counts().minus(before))
        return values

    def __deepcopy__(self, memo: dict[int, object]) -> SharedPasses:
        """The same store: a copy of a ViT has the same passes."""
        return self

    def _key(self, blocks: object, tokens: Tensor) -> bytes:
        # Another number of threads may round sums otherwise.
        about = blocks, tokens.dtype, tuple(tokens.shape), torch.get_num_threads()
        digest = hashlib.sha256(self._weights + repr(about).encode())
        digest.update(_bytes_of(tokens))
        return digest.digest()

    def _find(self, key: bytes) -> tuple[Tensor, Counts] | None:
        if key not in self._places:
            with self._locked():
                self._read_on()
        if key not in self._places:
            return None
        place = self._places[key]
        _, _, kind, *shape, blocks, macs = _RECORD.unpack_from(self._memory, place)
        values = torch.frombuffer(
            self._memory,
            dtype=_TYPES[kind],
            count=shape[0] * shape[1] * shape[2],
            offset=place + _RECORD.size,
        )
        return values.reshape(shape).clone(), Counts(0, blocks, macs)

    def _keep(self, key: bytes, values: Tensor, work: Counts) -> None:
        with self._locked():
            (end,) = _END.unpack_from(self._memory, 0)
            begin = end + _RECORD.size
            stop = begin + values.numel() * values.element_size()
            after = -(-stop // 8) * 8  # numbers of 8 bytes lie at multiples of 8
            if after > len(self._memory):
                return
            about = after, _TYPES.index(values.dtype), *values.shape, work.blocks, work.macs
            _RECORD.pack_into(self._memory, end, key, *about)
            self._memory[begin:stop] = bytes(_bytes_of(values))
            # Last, so that a process which dies before leaves nothing.
            _END.pack_into(self._memory, 0, after)

    def _read_on(self) -> None:
        """Note the places of results that other processes have added."""
        (end,) = _END.unpack_from(self._memory, 0)
        while self._read < end:
            key, after, *_ = _RECORD.unpack_from(self._memory, self._read)
            self._places[key] = self._read
            self._read = after

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep the other processes out."""
        if self._lock is None:
            yield
            return
        import fcntl  # of Unix alone, as the lock is

        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)


def _bytes_of(values: Tensor) -> memoryview:
    # As bytes, since numpy has no bf16.
    return values.detach().contiguous().view(-1).view(torch.uint8).numpy().data
