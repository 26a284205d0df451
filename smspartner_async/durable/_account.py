"""The vendor account that pays: its balance, and the pause while the vendor refuses it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, Final

from attrs import define, field
from tenacity import AsyncRetrying, RetryCallState
from tenacity.wait import wait_exponential

from smspartner_async._errors import (
    AccessDeniedError,
    AuthenticationError,
    DownloadInterruptedError,
    FileNotReadyError,
    InsufficientCreditError,
    ResponseError,
    SMSPartnerError,
)
from smspartner_async._http.retrying import is_passing
from smspartner_async._log import log

from ._journal import utc_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smspartner_async._client import SMSPartnerClient

_BALANCE_FOR: Final = 60.0  # seconds for which a known balance will do
RETRY_WAIT: Final = wait_exponential(multiplier=1, max=60)  # seconds; retried until it succeeds
_OPERATION_DENIED: Final = 6  # about the request, not the account
_TEMPORARY: Final = (ResponseError, FileNotReadyError, DownloadInterruptedError, BlockingIOError)


@define(eq=False)
class Account:
    """The account of one worker. Renting pauses while the vendor refuses it, and no job fails.

    Attributes:
        paused: why renting pauses, in the vendor's words; `None` while it does not.
    """

    client: SMSPartnerClient
    paused: str | None = field(default=None, init=False)
    _accepted: asyncio.Event = field(factory=asyncio.Event, init=False)
    _check_task: asyncio.Task[None] | None = field(default=None, init=False)
    _balance: tuple[str, str, float] | None = field(default=None, init=False)
    _asking: asyncio.Lock = field(factory=asyncio.Lock, init=False)

    async def balance(self, *, at_most: float = _BALANCE_FOR) -> tuple[str | None, str | None]:
        """Return the balance and when it was asked for; nothing if it cannot be read.

        Args:
            at_most: seconds for which one that is known already will do.
        """
        loop = asyncio.get_running_loop()
        async with self._asking:
            if self._balance is None or loop.time() - self._balance[2] >= at_most:
                asked_at = utc_timestamp()
                try:
                    balance = (await self.client.credits()).balance
                except SMSPartnerError:
                    return None, None
                self._balance = str(balance), asked_at, loop.time()
            return self._balance[:2]

    def pause(self, error: BaseException, price: str | None = None) -> None:
        """Pause renting after the vendor refused the account, until a free check succeeds.

        If the credit did not cover a `price`, the check succeeds once the balance does.
        """
        if self.paused is not None:
            return
        log.warning("renting pauses until the vendor takes this account again: %s", error)
        self.paused = str(error)
        self._accepted.clear()
        short_of = Decimal(price or 0) if isinstance(error, InsufficientCreditError) else None
        self._check_task = asyncio.create_task(self._check(short_of))

    async def wait_until_accepted(self) -> None:
        """Wait until renting does not pause."""
        if self.paused is not None:
            await self._accepted.wait()

    async def close(self) -> None:
        """Stop the check."""
        if self._check_task is not None:
            self._check_task.cancel()
            await asyncio.wait((self._check_task,))

    async def _check(self, minimum: Decimal | None) -> None:
        """Ask for the balance until the vendor answers and it is high enough, if it has to be."""
        for pause in retry_delays():
            await asyncio.sleep(pause)
            with suppress(SMSPartnerError):
                balance = (await self.client.credits()).balance
                if minimum is None or balance >= minimum:
                    break
        self.paused = None
        self._accepted.set()
        log.warning("the vendor takes this account again: renting continues")


def retry_delays() -> Iterator[float]:
    """Yield the delays of `RETRY_WAIT` in seconds, for a loop that sleeps by other means."""
    state = RetryCallState(AsyncRetrying(), None, (), {})
    for number in count(1):
        state.attempt_number = number
        yield RETRY_WAIT(state)


def is_temporary(error: BaseException) -> bool:
    """Whether the same call for a paid rental may succeed a little later."""
    return is_passing(error) or refuses_account(error) or isinstance(error, _TEMPORARY)


def refuses_account(error: BaseException) -> bool:
    """Whether the vendor refuses the account, or its key: codes 1, 10, 11, 20, 30, 40 and 96."""
    kinds = (AuthenticationError, AccessDeniedError, InsufficientCreditError)
    return isinstance(error, kinds) and error.code != _OPERATION_DENIED
