"""Forward passes of a server: one worker thread gathers requests into batches."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress

import torch
from torch import Tensor

from cl_prompts.serving.snapshot import Refused

#: requests in progress above which a further one is refused
WAITING = 64
_MOST = 16  # images of a batch
_ENOUGH = 4  # images above which an image costs as much as in a larger batch
_GATHER = 0.005  # seconds in which fewer wait for requests that are being decoded


class Passes:
    """Worker that encodes images in batches.

    Args:
        encode: images (n, 3, size, size) -> (n, columns), one row for each.

    Example:
        >>> passes = Passes(lambda images: images.mean(dim=(2, 3)))
        >>> with passes.place():
        ...     passes.submit(torch.ones(3, 2, 2)).result()
        tensor([1., 1., 1.])
    """

    def __init__(self, encode: Callable[[Tensor], Tensor]) -> None:
        self.encode = encode
        self.batches = 0
        """Forward passes so far."""
        self._places = 0  # the event loop alone changes it
        self._queue: queue.SimpleQueue[tuple[Tensor, Future[Tensor]]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="passes", daemon=True).start()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Count a request in progress.

        Raises:
            Refused: too many are.
        """
        if self._places >= WAITING:
            raise Refused(503, "too many requests wait: try again in a second")
        self._places += 1
        try:
            yield
        finally:
            self._places -= 1

    def submit(self, image: Tensor) -> Future[Tensor]:
        """Encode one image (3, size, size), as soon as the worker is free."""
        future: Future[Tensor] = Future()
        future.set_running_or_notify_cancel()  # a client that leaves cannot cancel it
        self._queue.put((image, future))
        return future

    def _work(self) -> None:
        batch: list[tuple[Tensor, Future[Tensor]]] = []
        while True:
            last, batch = len(batch), [self._queue.get()]
            # Half of the clients: while it is encoded, images of the other half are decoded.
            half = (last + self._queue.qsize() + 2) // 2
            until = time.monotonic() + _GATHER
            with suppress(queue.Empty):
                while len(batch) < min(_MOST, max(_ENOUGH, half)):
                    # Alone, a request does not wait for others.
                    few = len(batch) < min(_ENOUGH, self._places)
                    rest = until - time.monotonic() if few else 0
                    batch.append(self._queue.get(timeout=max(rest, 0)))
            self._encode(batch)

    @torch.no_grad()
    def _encode(self, batch: list[tuple[Tensor, Future[Tensor]]]) -> None:
        self.batches += 1
        try:
            rows = self.encode(torch.stack([image for image, _ in batch]))
            for (_, future), row in zip(batch, rows, strict=True):
                future.set_result(row)
        except Exception as error:
            for _, future in batch:
                future.set_exception(error)
