"""The pooled connections: their number, and a connector that holds requests back in a cool-down."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp import hdrs

from smspartner_async._validation import check_type, check_whole

from .state import HeldBackError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.client_proto import ResponseHandler


_NOTHING_SENT: Final = "It had no connection yet: nothing of the request was sent."


class HoldingConnector(aiohttp.TCPConnector):
    """Holds a request back that has its connection only now, when a 429 pauses all.

    One that is ended while it connects says so, where nothing of it can have been sent.
    """

    def __init__(self, is_paused: Callable[[], bool], *, limit: int) -> None:
        super().__init__(limit=limit)
        self._is_paused = is_paused
        self._has_connected = False

    # The method that connectors are made of: over an open connection, a request costs nothing more.
    async def _create_connection(
        self, req: aiohttp.ClientRequest, *args: Any, **kwargs: Any
    ) -> ResponseHandler:
        try:
            protocol = await super()._create_connection(req, *args, **kwargs)
        except asyncio.CancelledError as error:
            # A GET may have left before, over a connection that then broke: aiohttp sends it again.
            if req.method != hdrs.METH_GET or not self._has_connected:
                error.add_note(_NOTHING_SENT)
            raise
        self._has_connected = True
        if self._is_paused():
            protocol.close()
            raise HeldBackError
        return protocol


def was_connecting(error: Exception) -> bool:
    """Whether an error comes of ending a request of which nothing was sent by then."""
    return _NOTHING_SENT in getattr(error.__cause__, "__notes__", ())


def connections_of(session: aiohttp.ClientSession | None, max_connections: float) -> float:
    """Return how many connections a client may use at once: the smallest of all limits.

    What the application itself keeps busy on a borrowed session cannot be known here.

    Raises:
        ValueError: `max_connections` is no whole number from 1 on.
        TypeError: `session` is of another type.
    """
    check_whole("max_connections", max_connections)
    if session is not None:
        check_type("session", session, aiohttp.ClientSession)
    connector = None if session is None else session.connector
    limits = () if connector is None else (connector.limit, connector.limit_per_host)
    return min([max_connections, *(limit for limit in limits if limit)])  # 0 is no limit
