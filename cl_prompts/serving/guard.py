"""Checks of each request before it is read, and headers of each answer."""

import base64
import hmac
import re
from contextlib import suppress
from typing import Any

from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from cl_prompts.errors import InputError, RunError
from cl_prompts.serving.snapshot import Refused
from cl_prompts.serving.uploads import MOST_BYTES

#: paths that need no token: the page itself has no data, and asks for the token
_OPEN = {"/", "/page.css", "/page.js", "/health"}
_MOST = MOST_BYTES + 2**16  # with the fields around an image
_LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self' blob: data:; connect-src 'self'; form-action 'none'; base-uri 'none';"
    " frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class Guard:
    """ASGI application that checks host, origin, token and size, and calls another one.

    Without a token only names of this machine are answered, so that a web page whose name is
    rebound to 127.0.0.1 reaches nothing.

    Args:
        app: the application.
        token: that clients send as a bearer; None: clients of this machine alone.

    Example:
        >>> Guard(None, None).token is None
        True
    """

    def __init__(self, app: Any, token: str | None) -> None:
        self.app, self.token = app, token or None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        read = 0

        async def counted() -> Any:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > _MOST:
                raise Refused(413, "the request is too large: send at most 10 MB")
            return message

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        if scope["type"] == "http":
            try:
                self._check(scope)
            except Refused as error:
                await refusal(error)(scope, receive, answer)
                return
        await self.app(scope, counted, answer)

    def _check(self, scope: Any) -> None:
        found = Headers(scope=scope)
        host = found.get("host", "")
        if self.token is None and re.sub(r":\d+$", "", host) not in _LOOPBACK:
            raise Refused(403, "this server answers to localhost alone: start it with --token")
        origin = found.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise Refused(403, "requests of other web pages are refused")
        if self.token is not None and scope["path"] not in _OPEN:
            given = _token(found.get("authorization", ""))
            # Constant time: the answer does not tell how much of a guess is right.
            if not hmac.compare_digest(given.encode(), self.token.encode()):
                raise Refused(401, "the token is missing or wrong: send Authorization: Bearer")


def _token(header: str) -> str:
    """Return the token of a header: a bearer, or the password of Label Studio's Basic."""
    kind, _, given = header.partition(" ")
    if kind != "Basic":
        return header.removeprefix("Bearer ")
    with suppress(ValueError):
        return base64.b64decode(given).decode().partition(":")[2]
    return ""


def refusal(error: Exception) -> JSONResponse:
    """Return the answer to a refused request: a sentence, never a traceback."""
    status, said = getattr(error, "status", 422), str(error)
    if isinstance(error, HTTPException):
        status, said = error.status_code, f"{error.detail}: docs/guides/serving.md lists the calls"
    elif isinstance(error, ValidationError):
        first = error.errors()[0]
        said = ": ".join([*map(str, first["loc"]), first["msg"]])
    elif not isinstance(error, InputError | RunError):
        status, said = 500, "the server has an internal fault"
    # Not Basic: a browser would ask for a password before the page does.
    headers = {503: {"retry-after": "1"}, 401: {"www-authenticate": "Bearer"}}
    return JSONResponse({"error": said}, status_code=status, headers=headers.get(status))


#: of all exceptions; Starlette looks for the nearest base class
HANDLERS: Any = dict.fromkeys(
    (InputError, RunError, ValidationError, HTTPException, Exception),
    lambda _, error: refusal(error),
)
