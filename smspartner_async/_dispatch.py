"""How the requests of one client go out: each in its turn, and again where that is safe."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from attrs import define, field

from ._errors import ConfigurationError
from ._retry import is_passing, wait_asked_by, with_retries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._reply import Operation, Reply
    from ._retry import Gate, RetryPolicy
    from ._transport import Transport
    from ._wire import Request

_T = TypeVar("_T")


@define(eq=False)
class Dispatcher:
    """Every request of a client goes this way: past the gate, over the transport, with retries.

    A first success, which nearly all of them are, takes nothing but a few calls.
    """

    transport: Transport
    retry: RetryPolicy
    gate: Gate
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False)
    _closed: bool = field(default=False, init=False)

    def close(self) -> None:
        """Let no more requests out; those that wait for their turn raise `ConfigurationError`."""
        self._closed = True
        self.gate.close(_closed())

    def check_usable(self) -> None:
        """Raise `ConfigurationError` for a closed client, or one of another event loop."""
        if self._closed:
            raise _closed()
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
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

    def ask(self, request: Request, read: Callable[[Reply], _T]) -> Awaitable[_T]:
        """Send a request that is safe to repeat, and read its reply."""

        async def attempt() -> _T:
            if not self._may_send():
                await self._wait_for_turn(request.operation, patience=self.patience)
            with self.gate:
                return read(await self.transport.exchange(request))

        return self._try(attempt, is_passing)

    def ask_urgently(
        self,
        operation: Operation,
        exchange: Callable[[], Awaitable[_T]],
        may_repeat: Callable[[BaseException], bool],
    ) -> Awaitable[_T]:
        """Make an exchange that goes ahead of others, and has a rule of its own for repeating."""

        async def attempt() -> _T:
            if not self._may_send():
                await self._wait_for_turn(operation, patience=self.patience, urgent=True)
            with self.gate:
                return await exchange()

        return self._try(attempt, may_repeat)

    async def enter_poll(self, deadline: float | None) -> None:
        """Wait until a poll may be sent; `poll` must follow. A wait has its own way to go on."""
        if not self._may_send():
            await self._wait_for_turn("status", deadline=deadline)

    async def poll(
        self, request: Request, read: Callable[[Reply], _T], deadline: float | None
    ) -> _T:
        """Send a poll once, and read its reply."""
        with self.gate:
            return read(await self.transport.exchange(request, deadline))

    def _try(
        self,
        attempt: Callable[[], Awaitable[_T]],
        may_repeat: Callable[[BaseException], bool],
    ) -> Awaitable[_T]:
        patience = self.patience
        return with_retries(
            attempt,
            self.retry,
            may_repeat=lambda error: may_repeat(error) and (wait_asked_by(error) or 0) <= patience,
        )

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
    ) -> None:
        await self.gate.enter(operation, patience=patience, deadline=deadline, urgent=urgent)
        self.check_usable()  # once more: it may have been a long wait


def _closed() -> ConfigurationError:
    return ConfigurationError("This client is closed; make a new one. Nothing was sent.")
