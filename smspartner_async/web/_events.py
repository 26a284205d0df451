"""Server-sent events: a rental's states as the bytes of a stream for browsers."""

from __future__ import annotations

import asyncio
import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from smspartner_async._errors import ConfigurationError, SMSPartnerError
from smspartner_async._validation import check_positive

from ._problem import problem

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from smspartner_async._models import RentalStatus

SSE_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Content-Type": "text/event-stream",
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",  # nginx and its kin would hold the events back
    }
)
"""The headers of a reply that streams `server_sent_events`."""


async def server_sent_events(
    states: AsyncGenerator[RentalStatus, None], *, heartbeat: float = 15.0
) -> AsyncGenerator[bytes, None]:
    """Yield the statuses of `client.watch` as the bytes of an event stream, for a browser.

    Each status is a `message` whose data is JSON: `token`, `state` (such as `"READY"`), `message`,
    `phone_numbers` (how many), and `final`. The first one is the state now, so a browser that
    reconnects has missed nothing, and needs no `Last-Event-ID`. An error is a `problem`, as
    `problem()` describes it. After a final state or a problem a page must close its EventSource,
    or it reconnects; when the client was closed, the stream just ends, so that it does.

    Closing the generator, or cancelling its reader, ends the watch. Use it within `aclosing`.

    >>> async with aclosing(server_sent_events(client.watch(token))) as stream:
    ...     async for chunk in stream:
    ...         await response.write(chunk)

    Args:
        states: the generator that `client.watch(token)` returned. It is closed at the end.
        heartbeat: seconds, above 0, after which a comment is sent where nothing else is. It keeps
            proxies from closing the connection, and shows a server that the browser is gone.

    Raises:
        ValueError: a heartbeat out of its range.
    """
    check_positive("heartbeat", heartbeat)
    upcoming: asyncio.Future[RentalStatus | None] | None = None
    try:
        yield b"retry: 3000\n\n"  # milliseconds until a browser comes back; and the reply begins
        while True:
            upcoming = asyncio.ensure_future(anext(states, None))
            while not (await asyncio.wait((upcoming,), timeout=heartbeat))[0]:
                yield b": still waiting\n\n"
            status = upcoming.result()
            if status is None:
                return
            yield _event("message", _shown(status))
    except ConfigurationError:
        return
    except SMSPartnerError as error:
        yield _event("problem", problem(error))
    finally:
        if upcoming is not None and upcoming.cancel():
            await asyncio.wait((upcoming,))  # cancelling it ends the watch
        else:
            await states.aclose()


def _shown(status: RentalStatus) -> dict[str, Any]:
    return {
        "token": status.token,
        "state": status.state.name,
        "message": status.message,
        "phone_numbers": status.phone_numbers,
        "final": status.state.is_terminal,
    }


def _event(name: str, data: dict[str, Any]) -> bytes:
    # JSON written so has no line ends, which would end the field.
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
