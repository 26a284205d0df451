"""The state of a client, of one request under way, and of its reply."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from smspartner_async._errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    import aiohttp

    from smspartner_async._wire.reply import Reply

    from .raw_reply import RawReply


class ResponseHead:
    """Status and headers of a reply, kept even if its body fails; `on_taken` is called then."""

    def __init__(self, on_taken: Callable[[ResponseHead], object] | None = None) -> None:
        self.http_status: int | None = None
        self.headers: Mapping[str, str] = {}
        self._on_taken = on_taken

    def take(self, response: aiohttp.ClientResponse) -> None:
        """Keep the status and headers of `response`."""
        self.http_status, self.headers = response.status, response.headers
        if self._on_taken is not None:
            self._on_taken(self)


class SendState:
    """The progress of one request: whether it was sent, and whether its reply began."""

    before_head: Callable[[], Awaitable[None]] | None = None
    """Called on the open connection, before the first byte. What it raises ends the request."""
    head_sent: bool = False
    """Set just before the first byte leaves; while it is `False`, the vendor has seen nothing."""
    reply_began: bool = False
    raw_limit: int = 2**21
    """Bytes of the reply that are kept in `raw` at most."""
    raw: RawReply | None = None
    """The bytes of the reply; `None` where this version of aiohttp has no place to keep them."""

    def is_certain(self, _reply: Reply) -> bool:
        """Return whether a whole reply leaves no doubt. If it does, more bytes are waited for."""
        return True


class ClientState:
    """The client's event loop and closed flag, shared by its copies."""

    def __init__(self) -> None:
        self.closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Mark the client as closed, and end every `sleep_unless_closed`."""
        self.closed = True
        self._closing.set()

    def check_usable(self) -> None:
        """Raise `ConfigurationError` for a closed client, or one of another event loop."""
        if self.closed:
            raise closed_error()
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise ConfigurationError(
                "This client belongs to another event loop; make one inside of each "
                "asyncio.run(). Nothing was sent."
            )

    async def sleep_unless_closed(self, seconds: float) -> None:
        """Sleep for so many seconds, or until the client is closed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()


class HeldBackError(Exception):
    """Another request received a 429 while this one was connecting: it is queued again.

    Nothing of it was sent. This error never leaves the client.
    """


def closed_error() -> ConfigurationError:
    """Make the error of a call on a closed client."""
    return ConfigurationError("This client is closed; make a new one. Nothing was sent.")


def copy_error() -> ConfigurationError:
    """Make the error of closing a copy: its connections are shared with the other clients."""
    return ConfigurationError(
        "This is a copy made by with_options(). It is closed together with the client that it was "
        "made from, and cannot be closed on its own."
    )
