"""What can go wrong between a client and the vendor, played on the sandbox's real connections.

It knows HTTP and the names of the operations, and nothing of rentals and money: a fault is played
around the work of a request, or in place of it.
"""

import asyncio
import contextlib
import math
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from typing import Final, Literal, TypeAlias, get_args

from aiohttp import web

from ._rules import MESSAGES, RefusedError

Operation: TypeAlias = Literal["calculate", "price", "rent", "status", "download", "credits"]

_Work: TypeAlias = Callable[[], Awaitable[web.StreamResponse]]
_Fault: TypeAlias = Callable[[web.Request, _Work], Awaitable[web.StreamResponse]]

OPERATIONS: Final[tuple[str, ...]] = get_args(Operation)

_ERRORS: Final = range(400, 600)
_PAGE: Final = (
    "<!DOCTYPE html><html><body><h1>{} {}</h1><p>Please come back later.</p></body></html>"
)


class Faults:
    """Faults to come, each for the next `count` requests of one operation, in the order planned.

    A fault that is planned for a closed sandbox is played when it is open again.
    """

    def __init__(self) -> None:
        self._planned: defaultdict[str, deque[tuple[str, _Fault]]] = defaultdict(deque)
        self._limit: tuple[float, bool] | None = None
        self._limited_until: float | None = None
        self._now: Callable[[], float] = lambda: 0.0  # the loop's clock, once there is a loop

    def drop_next_request(self, operation: Operation, count: int = 1) -> None:
        """Close the connection before anything is done: nothing is charged."""

        async def fault(request: web.Request, _work: _Work) -> web.StreamResponse:
            return _hang_up(request)

        self._plan("drop_next_request", operation, fault, count)

    def lose_next_reply(self, operation: Operation, count: int = 1) -> None:
        """Do what is asked, and close the connection in place of a reply: a rent is charged."""

        async def fault(request: web.Request, work: _Work) -> web.StreamResponse:
            with contextlib.suppress(RefusedError):  # a refusal is a reply, too
                await work()
            return _hang_up(request)

        self._plan("lose_next_reply", operation, fault, count)

    def delay_next_reply(
        self, operation: Operation, seconds: float = math.inf, count: int = 1
    ) -> None:
        """Do at once what is asked (a rent is charged), and reply `seconds` later, or never.

        Without `seconds` the connection stays open in silence, until either side closes.
        """
        if not seconds >= 0:
            raise ValueError(f"seconds must be at least 0, not {seconds}.")

        async def fault(_request: web.Request, work: _Work) -> web.StreamResponse:
            try:
                return await work()
            finally:
                await _pause(seconds)

        self._plan("delay_next_reply", operation, fault, count)

    def refuse_next_request(self, operation: Operation, code: int, count: int = 1) -> None:
        """Refuse with one of the vendor's error codes: nothing is charged."""
        if code not in MESSAGES:
            raise ValueError(f"code must be one of the vendor's, {sorted(MESSAGES)}, not {code}.")

        async def fault(_request: web.Request, _work: _Work) -> web.StreamResponse:
            raise RefusedError(code)

        self._plan("refuse_next_request", operation, fault, count)

    def answer_next_with_page(
        self, operation: Operation, status: int = 502, count: int = 1
    ) -> None:
        """Answer with a page of HTML, as a proxy does whose server is down: nothing is charged."""
        if status not in _ERRORS:
            raise ValueError(f"status must be an HTTP status from 400 to 599, not {status}.")

        async def fault(_request: web.Request, _work: _Work) -> web.StreamResponse:
            response = web.Response(status=status, content_type="text/html")
            response.text = _PAGE.format(status, response.reason)
            return response

        self._plan("answer_next_with_page", operation, fault, count)

    def cut_next_download(self, after_bytes: int, count: int = 1) -> None:
        """Announce the whole file, send its first `after_bytes` bytes, and close the connection.

        The file is used up all the same. A file that is no longer than that arrives whole. A
        download that is refused leaves the fault for the next one.
        """
        if after_bytes < 0:
            raise ValueError(f"after_bytes must be at least 0, not {after_bytes}.")

        async def fault(request: web.Request, work: _Work) -> web.StreamResponse:
            try:
                whole = await work()
            except RefusedError:
                self._planned["download"].appendleft(("cut_next_download", fault))
                raise
            return _hang_up(request, _beginning(whole, after_bytes))

        self._plan("cut_next_download", "download", fault, count)

    def limit_requests(self, seconds: float, *, retry_after: bool = True) -> None:
        """Answer every request with 429, for `seconds` from the next one on: nothing is done.

        Args:
            seconds: By the loop's clock, whatever the sandbox's `speed`.
            retry_after: Whether the reply tells how long, in whole seconds and rounded up. The
                vendor does not say whether it does.
        """
        if not 0 < seconds < math.inf:
            raise ValueError(f"seconds must be a number greater than 0, not {seconds}.")
        self._limit = (seconds, retry_after)
        self._limited_until = None

    async def _play(self, operation: str, request: web.Request, work: _Work) -> web.StreamResponse:
        """Answer with 429 in times of a limit, else by the next fault, else by doing the work."""
        if (limited := self._limited()) is not None:
            return limited
        planned = self._planned[operation]
        if not planned:
            return await work()
        _, fault = planned.popleft()
        return await fault(request, work)

    def _still_planned(self) -> list[str]:
        """Name what is planned and was not played yet."""
        return [
            f"{name} ({operation})"
            for operation, faults in self._planned.items()
            for name, _ in faults
        ]

    def _plan(self, name: str, operation: str, fault: _Fault, count: int) -> None:
        if operation not in OPERATIONS:
            raise ValueError(
                f"operation must be one of {', '.join(OPERATIONS)}; not {operation!r}."
            )
        if count < 1:
            raise ValueError(f"count must be at least 1, not {count}.")
        self._planned[operation].extend([(name, fault)] * count)

    def _limited(self) -> web.Response | None:
        if self._limit is None:
            return None
        seconds, retry_after = self._limit
        if self._limited_until is None:
            self._limited_until = self._now() + seconds
        left = self._limited_until - self._now()
        if left <= 0:
            self._limit = None
            return None
        headers = {"Retry-After": str(math.ceil(left))} if retry_after else {}
        return web.Response(status=429, headers=headers)


async def _pause(seconds: float) -> None:
    """Let time pass, which may be for ever: until the sandbox closes."""
    if math.isinf(seconds):
        await asyncio.Event().wait()
    await asyncio.sleep(seconds)


def _hang_up(request: web.Request, last_words: bytes = b"") -> web.Response:
    """Close a request's connection after these bytes; return a response that will not be sent."""
    if request.transport is not None:
        request.transport.write(last_words)
        request.transport.close()
    return web.Response()


def _beginning(whole: web.StreamResponse, length: int) -> bytes:
    """Write a good reply up to this length of its body, which may be none.

    By hand, since aiohttp holds a head back until there is a byte of the body.
    """
    body: bytes = getattr(whole, "body", b"")
    lines = [f"{name}: {value}" for name, value in whole.headers.items()]
    head = "\r\n".join(["HTTP/1.1 200 OK", *lines, f"Content-Length: {len(body)}", "", ""])
    return head.encode() + body[:length]
