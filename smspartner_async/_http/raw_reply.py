"""The raw bytes of a reply, kept before aiohttp's parser judges them.

aiohttp hands out nothing of a reply whose head it refuses, or behind whose end more bytes come. The
token of a paid rental, or a file that is served once, may be in it.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiohttp.client_proto import ResponseHandler

from smspartner_async._wire.broken_reply import (
    INTERIM,
    LONGEST_HEAD,
    read_broken_head,
    read_broken_reply,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import aiohttp

    from smspartner_async._wire.broken_reply import BrokenHead
    from smspartner_async._wire.reply import Reply

_LINGER: Final = 0.5  # seconds


class RawReply:
    """The bytes of one reply, as they came.

    Attributes:
        limit: bytes that are kept at most; what comes behind them is dropped.
        refused: whether aiohttp's parser refused it.
        rest: what came from the refused piece on, if that was in a body read as it came.
        protocol: that of the connection.
        is_held: whether the connection stays open when aiohttp closes it.
        is_gone: set when the connection is closed.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.refused = False
        self.rest = bytearray()
        self.protocol: ResponseHandler | None = None
        self.is_held = False
        self.is_gone = asyncio.Event()
        self._is_stopped = False
        self._data = bytearray()
        self._body_came = 0
        self._last_piece = b""
        self._head: BrokenHead | None = None

    def feed(self, data: bytes) -> None:
        """Keep the bytes that came next."""
        kept = self._data
        if self._is_stopped:
            kept = self.rest if self.refused else bytearray()
        kept += data[: max(0, self.limit - len(kept))]
        self._body_came += len(data)
        self._last_piece = data or self._last_piece  # aiohttp's parser is fed b"" at times

    def clear(self) -> None:
        """Drop what came so far."""
        self._data.clear()
        self._head = None

    def excess(self, length: int) -> bytes:
        """Return the bytes behind a body of this length, after `stop`, in the piece with its end.

        A line break does not count: some servers send one.
        """
        more = self._body_came - length
        return self._last_piece[-more:] if more > 0 and self._last_piece[-more:].strip() else b""

    def stop(self) -> None:
        """Drop what came, and keep no more unless it is refused: the body is read as it comes."""
        body = bytes(self._data[read_broken_head(self._data).end :])
        self._is_stopped = True
        self.clear()
        self._body_came, self._last_piece = len(body), body

    def refuse(self) -> None:
        """Note that aiohttp's parser refused the piece that came last.

        It may have handed out a part of that: rather twice in the file than not at all.
        """
        self.refused = True
        if self._is_stopped:
            self.rest += self._last_piece

    @contextmanager
    def held_open(self) -> Iterator[None]:
        """Keep the connection open behind the reply's end, until the block ends."""
        self.is_held = True
        try:
            yield
        finally:
            self.is_held = False
            if self.protocol is not None:
                self.protocol.close()

    async def linger(self) -> None:
        """Keep what comes behind the reply's end over a connection that is held open."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                await self.is_gone.wait()

    def read(self) -> Reply:
        """Return what came as status, headers and body, as far as it can be read."""
        return read_broken_reply(bytes(self._data))

    def has_begun(self) -> bool:
        """Return whether anything came, beside interim replies (1xx)."""
        return bool(self._data) and self.read().status not in INTERIM

    def has_ended(self) -> bool:
        """Return whether the whole reply has come, by its framing."""
        if max(len(self._data), len(self.rest)) >= self.limit:
            return True
        # Once, or while it may still end: a long body comes in many pieces.
        if self._head is None or not (self._head.is_whole or len(self._data) > LONGEST_HEAD):
            self._head = read_broken_head(self._data)
        return self._head.is_whole and self._head.has_ended(self._data)


def tap(connector: aiohttp.TCPConnector, raw: RawReply) -> bool:
    """Keep in `raw` what comes over a connector's next connection; return whether that is possible.

    aiohttp has no public hook for it. In 3.12 to 3.14 the connector's `_factory` makes the protocol
    of a connection; in a version without it, a reply that aiohttp refuses is lost.
    """
    if not hasattr(connector, "_factory"):
        return False
    factory: Any = partial(_TappedProtocol, asyncio.get_running_loop(), raw)
    connector._factory = factory  # noqa: SLF001 - the only hook there is
    return True


class _TappedProtocol(ResponseHandler):
    """aiohttp's protocol of a connection, which keeps all bytes, those of a refused reply too."""

    def __init__(self, loop: asyncio.AbstractEventLoop, raw: RawReply) -> None:
        super().__init__(loop)
        raw.clear()  # of a proxy's answer: the connection through its tunnel is a second one
        raw.protocol, self._raw = self, raw
        self._is_over = False

    def data_received(self, data: bytes) -> None:
        self._raw.feed(data)
        if not self._is_over:
            super().data_received(data)

    def close(self) -> None:
        self._is_over = True
        if not self._raw.is_held:
            super().close()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._raw.is_gone.set()
        super().connection_lost(exc)

    def set_response_params(self, **params: Any) -> None:
        # A reply that began before the request was written waits for its parser in `_tail`.
        begun, self._tail = self._tail, b""
        super().set_response_params(**params)
        deferring: Any = _DeferringParser(self._parser, self._raw)
        self._parser = deferring
        if begun:
            super().data_received(begun)


class _DeferringParser:
    """aiohttp's parser, whose error is raised only when the reply has ended.

    aiohttp closes the connection at a parser's error: what is still to come would be lost.
    """

    def __init__(self, parser: Any, raw: RawReply) -> None:
        self._parser = parser
        self._raw = raw
        self._refusal: Exception | None = None

    def feed_data(self, data: bytes) -> Any:
        if self._refusal is None:
            try:
                return self._parser.feed_data(data)
            except Exception as error:  # noqa: BLE001 - aiohttp's parser raises several kinds
                self._refusal = error
                self._raw.refuse()
        if self._raw.has_ended():
            raise self._refusal
        return (), False, b""

    def feed_eof(self) -> Any:
        if self._refusal is not None:
            raise self._refusal
        return self._parser.feed_eof()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)
