"""HTTP server of a model that learns while it serves; ``cl-prompts serve`` starts it.

``journal`` stores events in SQLite, ``learner`` owns the sums, ``passes`` batches forward passes,
``app`` has the calls and ``guard`` their security. It needs the extra ``serve``.
"""

import socket

from cl_prompts.errors import InputError


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        InputError: the port is in use, or the host is not of this machine.
    """
    try:
        made = socket.create_server((host, port))
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        said = f"{host}:{port} cannot be used: {reason}. Give another --host or --port"
        raise InputError(said) from error
    # Else the body of an answer waits 40 ms for a receipt of its header.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made
