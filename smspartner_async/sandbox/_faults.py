"""What can go wrong between a client and the vendor, played on the sandbox's real connections.

It knows HTTP and the names of the operations, and nothing of rentals and money: a fault is played
around the work of a request, or in place of it.
"""

import asyncio
import contextlib
import math
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, Literal, TypeAlias, get_args

from aiohttp import web
from multidict import MultiDict

from ._answers import Alteration, Framing, hang_up, refusal
from ._arguments import check
from ._rules import MESSAGES, RefusedError

Operation: TypeAlias = Literal["calculate", "price", "rent", "status", "download", "credits"]

_Work: TypeAlias = Callable[[], Awaitable[web.StreamResponse]]
_Fault: TypeAlias = Callable[[web.Request, _Work], Awaitable[web.StreamResponse]]

OPERATIONS: Final[tuple[str, ...]] = get_args(Operation)

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
        """Close the connection before anything is done: nothing is charged.

        >>> sandbox.drop_next_request("rent")
        """

        async def fault(request: web.Request, _work: _Work) -> web.StreamResponse:
            return hang_up(request)

        self._plan("drop_next_request", operation, fault, count)

    def lose_next_reply(self, operation: Operation, count: int = 1) -> None:
        """Do what is asked, and close the connection in place of a reply: a rent is charged.

        >>> sandbox.lose_next_reply("rent")
        """

        async def fault(request: web.Request, work: _Work) -> web.StreamResponse:
            with contextlib.suppress(RefusedError):  # a refusal is a reply, too
                await work()
            return hang_up(request)

        self._plan("lose_next_reply", operation, fault, count)

    def delay_next_reply(
        self, operation: Operation, seconds: float = math.inf, count: int = 1
    ) -> None:
        """Do at once what is asked (a rent is charged), and reply `seconds` later, or never.

        Without `seconds` the connection stays open in silence, until either side closes.

        >>> sandbox.delay_next_reply("status", seconds=2)
        """
        check(seconds >= 0, "seconds", "at least 0", seconds)

        async def fault(_request: web.Request, work: _Work) -> web.StreamResponse:
            try:
                return await work()
            finally:
                await _pause(seconds)

        self._plan("delay_next_reply", operation, fault, count)

    def refuse_next_request(self, operation: Operation, code: int, count: int = 1) -> None:
        """Refuse with one of the vendor's error codes: nothing is charged.

        >>> sandbox.refuse_next_request("rent", 11)  # insufficient credit
        """
        check(code in MESSAGES, "code", f"one of the vendor's, {sorted(MESSAGES)}", code)

        async def fault(_request: web.Request, _work: _Work) -> web.StreamResponse:
            raise RefusedError(code)

        self._plan("refuse_next_request", operation, fault, count)

    def answer_next_with_page(
        self, operation: Operation, status: int = 502, count: int = 1
    ) -> None:
        """Answer with a page of HTML, as a proxy does whose server is down: nothing is charged.

        >>> sandbox.answer_next_with_page("price", status=503)
        """
        check(status in range(400, 600), "status", "an HTTP status from 400 to 599", status)

        async def fault(_request: web.Request, _work: _Work) -> web.StreamResponse:
            response = web.Response(status=status, content_type="text/html")
            response.text = _PAGE.format(status, response.reason)
            return response

        self._plan("answer_next_with_page", operation, fault, count)

    def cut_next_download(self, after_bytes: int, count: int = 1) -> None:
        """Announce the whole file, send its first `after_bytes` bytes, and close the connection.

        The file is used up all the same. A file that is no longer than that arrives whole. A
        download that is refused leaves the fault for the next one.

        >>> sandbox.cut_next_download(after_bytes=100)
        """
        check(after_bytes >= 0, "after_bytes", "at least 0", after_bytes)

        async def fault(request: web.Request, work: _Work) -> web.StreamResponse:
            try:
                whole = await work()
            except RefusedError:
                self._planned["download"].appendleft(("cut_next_download", fault))
                raise
            # By hand, since aiohttp holds a head back until there is a byte of the body.
            return hang_up(request, Alteration(cut_after=after_bytes).write(whole))

        self._plan("cut_next_download", "download", fault, count)

    def alter_next_reply(
        self,
        operation: Operation,
        *,
        status: int | None = None,
        media_type: str | None = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        rewrite: Callable[[bytes], bytes] | None = None,
        framing: Framing = "length",
        compressed: bool = False,
        cut_after: int | None = None,
        trailing: bytes = b"",
        rewrite_all: Callable[[bytes], bytes] | None = None,
        keep_open: bool = False,
        count: int = 1,
    ) -> None:
        r"""Do what is asked (a rent is charged), and write the reply in another way.

        The vendor documents hardly anything of how it replies: so a service can be tested against
        whatever may be. A refusal is altered as well. The connection is closed behind the reply,
        unless it is kept open.

        >>> sandbox.alter_next_reply("rent", status=500)  # it was charged all the same
        >>> sandbox.alter_next_reply("status", rewrite=lambda body: b"Warning: PHP\n" + body)
        >>> sandbox.alter_next_reply("credits", headers={"Retry-After": "30"}, status=429)
        >>> sandbox.alter_next_reply("download", framing="close", media_type="application/zip")
        >>> sandbox.alter_next_reply("price", rewrite_all=lambda reply: b"HTTP/9" + reply[8:])

        Args:
            operation: Whose reply.
            status: HTTP status, from 200 to 599.
            media_type: The `Content-Type`.
            headers: Lines of the head. They replace those of the same name, `Content-Length` and
                the other lines of a framing included; as pairs, a name may come twice.
            rewrite: Takes the body and returns another one.
            framing: How the end of the body is marked: by its `Content-Length`, in chunks, or by
                closing the connection.
            compressed: Whether the body is sent with gzip.
            cut_after: Close the connection behind so many bytes of the body, framing included. More
                than there are leave out what ends the body: with chunks, the last one.
            trailing: Bytes that are sent behind the reply.
            rewrite_all: Takes all bytes that would be sent, the head included, and returns others.
            keep_open: Leave the connection open and silent behind it, until either side closes.
            count: For how many replies.

        Raises:
            ValueError: An unknown operation or framing, or a number out of its range.
        """
        fits = status is None or status in range(200, 600)
        check(fits, "status", "an HTTP status from 200 to 599", status)
        framings = get_args(Framing)
        check(framing in framings, "framing", f"one of {', '.join(framings)}", framing)
        check(cut_after is None or cut_after >= 0, "cut_after", "at least 0", cut_after)
        alteration = Alteration(
            status=status,
            media_type=media_type,
            headers=tuple(MultiDict(headers).items()),
            rewrite=rewrite,
            framing=framing,
            compressed=compressed,
            cut_after=cut_after,
            trailing=trailing,
            rewrite_all=rewrite_all,
        )

        async def fault(request: web.Request, work: _Work) -> web.StreamResponse:
            try:
                whole = await work()
            except RefusedError as refused:
                whole = refusal(refused.code)
            reply = alteration.write(whole)
            if keep_open and request.transport is not None:
                request.transport.write(reply)
                await _pause(math.inf)
            return hang_up(request, reply)

        self._plan("alter_next_reply", operation, fault, count)

    def limit_requests(self, seconds: float, *, retry_after: bool = True) -> None:
        """Answer every request with 429, for `seconds` from the next one on: nothing is done.

        >>> sandbox.limit_requests(10, retry_after=False)

        Args:
            seconds: By the loop's clock, whatever the sandbox's `speed`.
            retry_after: Whether the reply says how long, in whole seconds and rounded up. The
                vendor does not say whether it does.
        """
        check(0 < seconds < math.inf, "seconds", "a number greater than 0", seconds)
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
        known = f"one of {', '.join(OPERATIONS)}"
        check(operation in OPERATIONS, "operation", known, operation)
        check(count >= 1, "count", "at least 1", count)
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
