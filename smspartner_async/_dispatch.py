"""How the requests of one client go out: each in its turn, and again where that is safe."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from logging import DEBUG
from typing import TYPE_CHECKING, TypeVar

from ._errors import ConfigurationError, TransportError
from ._exchanges import Watch, tell_of_retry
from ._log import log
from ._retry import is_passing, try_again, wait_asked_by

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractContextManager

    from ._exchanges import OnExchange
    from ._reply import Operation, Reply
    from ._retry import Gate, RetryPolicy
    from ._transport import Head, Transport
    from ._wire import Request

_T = TypeVar("_T")


class _Life:
    """Where a client lives, and whether it still does: one for it and all its copies."""

    loop: asyncio.AbstractEventLoop | None = None
    closed: bool = False

    def __init__(self) -> None:
        self._end = asyncio.Event()

    def end(self) -> None:
        """Let it live no longer."""
        self.closed = True
        self._end.set()

    async def sleep(self, seconds: float) -> None:
        """Sleep, but not beyond its end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._end.wait()


class Dispatcher:
    """Every request of a client goes this way: past the gate, over the transport, with retries.

    A first success, which nearly all of them are, takes nothing but a few calls. `clean` takes the
    API key out of what a reply says.
    """

    def __init__(
        self,
        transport: Transport,
        retry: RetryPolicy,
        gate: Gate,
        clean: Callable[[str], str],
        listeners: tuple[OnExchange, ...] = (),
    ) -> None:
        self.transport = transport
        self.retry = retry
        self.gate = gate
        self.clean = clean
        self.listeners = listeners
        self._life = _Life()

    def close(self) -> None:
        """Let no more requests out; those that wait for their turn raise `ConfigurationError`."""
        self._life.end()
        self.gate.close(_closed())

    def check_usable(self) -> None:
        """Raise `ConfigurationError` for a closed client, or one of another event loop."""
        life = self._life
        if life.closed:
            raise _closed()
        loop = asyncio.get_running_loop()
        if life.loop is None:
            life.loop = loop
        elif life.loop is not loop:
            raise ConfigurationError(
                "This client belongs to another event loop; make one inside of each "
                "asyncio.run(). Nothing was sent."
            )

    @property
    def patience(self) -> float:
        """How long a call waits for a cool-down to end, or for a `Retry-After`: seconds.

        Nobody wants a call to hang for the hour that a reply may ask for: beyond the time that one
        request may take, the caller is told instead.
        """
        return self.transport.request_timeout

    async def ask(
        self, request: Request, read: Callable[[Reply], _T], *, urgent: bool = False
    ) -> _T:
        """Send a request that is safe to repeat, and read its reply."""
        return await self._try(request, partial(self._exchange, request, read, urgent), is_passing)

    async def ask_urgently(
        self,
        request: Request,
        exchange: Callable[[Head | None], Awaitable[_T]],
        may_repeat: Callable[[BaseException], bool],
    ) -> _T:
        """Make an exchange that goes ahead of others, and has a rule of its own for repeating."""
        attempt = partial(self._exchange_urgently, request, exchange)
        return await self._try(request, attempt, may_repeat)

    async def enter_poll(self, deadline: float | None, since: float) -> None:
        """Wait until a poll may be sent; `poll` must follow. A wait has its own way to go on.

        Under a budget those go first whose rentals were asked about longest ago (`since`).
        """
        if not self._may_send():
            await self._wait_for_turn("status", deadline=deadline, since=since)

    async def poll(
        self,
        request: Request,
        read: Callable[[Reply], _T],
        deadline: float | None,
        waiting: Callable[[], Sequence[OnExchange]],
    ) -> _T:
        """Send a poll once, and read its reply. `waiting` tells who wants to know of it."""
        with self._around(request, waiting=waiting) as head:
            return read(await self.transport.exchange(request, deadline, head))

    async def _exchange(
        self,
        request: Request,
        read: Callable[[Reply], _T],
        urgent: bool,  # noqa: FBT001 - of this class alone
        attempt: int,
    ) -> _T:
        if not self._may_send():
            await self._wait_for_turn(request.operation, patience=self.patience, urgent=urgent)
        with self._around(request, attempt) as head:
            return read(await self.transport.exchange(request, None, head))

    async def _exchange_urgently(
        self, request: Request, exchange: Callable[[Head | None], Awaitable[_T]], attempt: int
    ) -> _T:
        if not self._may_send():
            await self._wait_for_turn(request.operation, patience=self.patience, urgent=True)
        with self._around(request, attempt) as head:
            return await exchange(head)

    def _around(
        self,
        request: Request,
        attempt: int = 1,
        waiting: Callable[[], Sequence[OnExchange]] | None = None,
    ) -> AbstractContextManager[Head | None]:
        """Stand around one request: the gate, and whoever watches (of a poll, all `waiting`)."""
        watched = self.listeners if waiting is None else waiting()
        if not watched and not log.isEnabledFor(DEBUG):
            return self.gate
        return Watch(
            request,
            self.gate,
            clean=self.clean,
            listeners=waiting or (lambda: self.listeners),
            attempt=attempt,
            polling=waiting is not None,
        )

    async def _try(
        self,
        request: Request,
        attempt: Callable[[int], Awaitable[_T]],
        may_repeat: Callable[[BaseException], bool],
    ) -> _T:
        try:
            return await attempt(1)  # nearly always all there is
        except Exception as error:
            if self.retry.attempts == 1 or not self._is_worth_it(error, may_repeat):
                raise
            failure = error
        return await try_again(
            failure,
            attempt,
            self.retry,
            may_repeat=lambda error: self._is_worth_it(error, may_repeat),
            sleep=self._life.sleep,
            before_sleep=partial(tell_of_retry, request),
        )

    def _is_worth_it(
        self, error: BaseException, may_repeat: Callable[[BaseException], bool]
    ) -> bool:
        if self._life.closed and isinstance(error, TransportError):
            return False  # it was close() that ended the request
        return may_repeat(error) and (wait_asked_by(error) or 0) <= self.patience

    def _may_send(self) -> bool:
        """Count a request that may leave now; tell whether it may, or has to wait for its turn."""
        self.check_usable()
        return self.gate.let_through()

    async def _wait_for_turn(
        self,
        operation: Operation,
        *,
        patience: float | None = None,
        deadline: float | None = None,
        urgent: bool = False,
        since: float | None = None,
    ) -> None:
        await self.gate.enter(
            operation, patience=patience, deadline=deadline, urgent=urgent, since=since
        )
        self.check_usable()  # once more: it may have been a long wait


def _closed() -> ConfigurationError:
    return ConfigurationError("This client is closed; make a new one. Nothing was sent.")
