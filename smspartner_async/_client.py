"""`SMSPartnerClient`: one method an operation."""

from __future__ import annotations

import copy
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ._checks import (
    check_positive,
    check_price,
    checked_key,
    checked_limit,
    checked_token,
    checked_url,
)
from ._dispatch import Dispatcher
from ._errors import ConfigurationError, PriceExceededError, ResponseError
from ._models import checked_volumes
from ._polling import Default, PollingPolicy, checked_timeout
from ._retry import Gate, RetryPolicy
from ._shared import Lookout
from ._transport import Transport
from ._wire import Wire

if TYPE_CHECKING:
    import ssl as tls
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
    from decimal import Decimal

    import aiohttp

    from ._checks import HasToken
    from ._exchanges import Exchange
    from ._models import ContactFile, Credits, Quote, Rental, RentalStatus, Targeting
    from ._polling import PollEvent
    from ._transport import Head
    from ._waiting import Wait


class SMSPartnerClient:
    """SMS Partner's contact rental. One client serves a whole service: make it once, share it.

    Used as `async with SMSPartnerClient() as client:`, or closed with `close()`. It belongs to the
    event loop that first uses it. All durations are seconds.

    Args:
        api_key: the account's key; by default that in the environment's SMSPARTNER_API_KEY.
        base_url: by default that in SMSPARTNER_BASE_URL, or else the vendor's. `https://`, or
            `http://` to this machine only, since every request carries the key.
        session: a session to share connections with. It is borrowed: never closed. Paid requests
            and downloads use connections of the client's own all the same.
        request_timeout: bounds one request from its first byte to its last; above 0. A download
            is bounded by it up to its reply, then between two pieces of it.
        retry: how one request is tried again where that is safe.
        polling: how a wait asks, and for how long.
        max_requests_per_minute: shared by all requests of this client; `None` is no limit of its
            own. The vendor's limit for rentals is undocumented (360 for two other operations).
        max_connections: open at once at most, for all that is safe to pool; above 0. A session
            that was passed in has a limit of its own.
        ssl: a TLS context in place of the system's usual one.
        proxy: URL of an HTTP proxy.
        on_exchange: called with an `Exchange` after each request. What it raises is logged, and
            the call goes on.

    Raises:
        ConfigurationError: a blank key, or a base URL that would show it to others.
        ValueError: a number out of its range.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        session: aiohttp.ClientSession | None = None,
        request_timeout: float = 30.0,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        polling: PollingPolicy = PollingPolicy(),  # noqa: B008 - frozen
        max_requests_per_minute: float | None = None,
        max_connections: int = 100,
        ssl: tls.SSLContext | None = None,
        proxy: str | None = None,
        on_exchange: Callable[[Exchange], object] | None = None,
    ) -> None:
        check_positive("request_timeout", request_timeout)
        check_positive("max_connections", max_connections)
        if max_requests_per_minute is not None:
            check_positive("max_requests_per_minute", max_requests_per_minute)
        self._wire = Wire(checked_key(api_key))
        self._transport = Transport(
            checked_url(base_url),
            request_timeout,
            ssl,
            proxy,
            session,
            max_connections=max_connections,
        )
        self._dispatcher = Dispatcher(
            self._transport,
            retry,
            Gate.allowing(max_requests_per_minute),
            self._wire.without_key,
            () if on_exchange is None else (on_exchange,),
        )
        self._polling = polling
        self._lookout = Lookout()
        self._is_copy = False

    @classmethod
    def from_env(
        cls,
        *,
        session: aiohttp.ClientSession | None = None,
        ssl: tls.SSLContext | None = None,
        on_exchange: Callable[[Exchange], object] | None = None,
    ) -> Self:
        """Make a client of the options that the environment holds.

        `SMSPARTNER_API_KEY`, `SMSPARTNER_BASE_URL`, `SMSPARTNER_REQUEST_TIMEOUT`,
        `SMSPARTNER_MAX_REQUESTS_PER_MINUTE`, `SMSPARTNER_MAX_CONNECTIONS`, `SMSPARTNER_PROXY`; for
        each field of the policies a variable such as `SMSPARTNER_RETRY_ATTEMPTS` or
        `SMSPARTNER_POLLING_TIMEOUT` (which may be `none`). One that is blank counts as not set.

        Args:
            session: as in the constructor; so `ssl` and `on_exchange`.
            ssl: see above.
            on_exchange: see above.

        Raises:
            ConfigurationError: it names every variable that is wrong.
        """
        from ._settings import options_in  # noqa: PLC0415 - read at most once in a process

        return cls(**options_in(os.environ), session=session, ssl=ssl, on_exchange=on_exchange)

    def with_options(
        self,
        *,
        request_timeout: float | None = None,
        retry: RetryPolicy | None = None,
        polling: PollingPolicy | None = None,
        on_exchange: Callable[[Exchange], object] | None = None,
    ) -> Self:
        """Make a copy for calls that need other options. It costs next to nothing.

        It shares everything else with this client: connections, request budget, cool-down, and
        the requests of waits for the same rental. It is closed when this client is, and cannot be
        closed on its own.

        Args:
            request_timeout: as in the constructor; what is `None` stays as it is in this client.
            retry: as above.
            polling: as above.
            on_exchange: called as well as that of this client. A wait tells of every request
                about its rental that begins while it waits, whoever of those who wait for the same
                rental sent it.

        Raises:
            ValueError: a number out of its range.
        """
        dispatcher = copy.copy(self._dispatcher)
        if request_timeout is not None:
            check_positive("request_timeout", request_timeout)
            dispatcher.transport = self._transport.with_timeout(request_timeout)
        if retry is not None:
            dispatcher.retry = retry
        if on_exchange is not None:
            dispatcher.listeners = (*dispatcher.listeners, on_exchange)
        other = copy.copy(self)
        vars(other).update(
            _dispatcher=dispatcher,
            _transport=dispatcher.transport,
            _polling=polling or self._polling,
            _is_copy=True,
        )
        return other

    def __repr__(self) -> str:
        return f"<SMSPartnerClient {self._transport.base_url}>"

    async def __aenter__(self) -> Self:
        self._check_own()
        self._dispatcher.check_usable()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the client's own connections, and end its waits with a `ConfigurationError`.

        A rent in flight still runs to its answer; any other call under way ends with a
        `TransportError`.

        Raises:
            ConfigurationError: this is a copy made by `with_options`.
        """
        self._check_own()
        self._dispatcher.close()
        self._lookout.close()
        await self._transport.close()

    async def calculate(self, targeting: Targeting) -> Quote:
        """Tell how many contacts match a targeting, and what they cost. Costs nothing.

        Manual: "Targeting & Calculation", operation `calcul`.

        Raises:
            APIError: the vendor said no; see its subclasses.
            TransportError: no whole reply came, also on further tries.
            ResponseError: the reply is not the vendor's.
        """
        request = self._wire.targeting_request("calculate", targeting)
        return await self._dispatcher.ask(
            request, lambda reply: self._wire.quote("calculate", reply)
        )

    async def price(self, targeting: Targeting, volumes: Mapping[str, int] | None = None) -> Quote:
        """Tell what a targeting costs, with the wanted volumes where given. Costs nothing.

        Manual: "Targeting & Calculation", operation `price`.

        Args:
            targeting: whom to reach.
            volumes: wanted number of contacts for a post code or department. They need not be
                among the targeted areas. `None` is all that match.

        Raises:
            TargetingError: volumes that cannot be right. Nothing was sent.
            SMSPartnerError: as `calculate`.
        """
        return await self._price(targeting, checked_volumes(volumes), urgent=False)

    async def rent(
        self,
        targeting: Targeting,
        volumes: Mapping[str, int] | None = None,
        *,
        max_total: Decimal | int | None = None,
        on_rented: Callable[[Rental], Awaitable[object] | object] | None = None,
    ) -> Rental:
        """Rent the contacts. This spends money, and is sent at most once.

        Manual: "Targeting & Calculation", operation `rent`; its reply is undocumented by the
        vendor. Cancelling does not take back a request that is under way: it runs to its answer
        (within `request_timeout`), `on_rented` is called, and when that has ended, the
        cancellation goes on.

        Args:
            targeting: whom to reach.
            volumes: wanted number of contacts for a post code or department; `None` rents all
                that match.
            max_total: price first, and do not rent when the total is above this. Exact: no `float`.
            on_rented: plain or async; called with the `Rental` before anything else happens, to
                store its token. What it raises is logged, and the rental still returned.

        Raises:
            TargetingError: volumes that cannot be right. Nothing was sent.
            PriceExceededError: the price is above `max_total`, or unknown. Nothing was rented.
            RentOutcomeUnknownError: it may have been charged. Do not rent again before checking.
            APIError: the vendor said no. Nothing was rented.
            TransportError: nothing was sent, also on further tries. Nothing was rented.
        """
        from ._paid import PaidRequest, proves_nothing_rented  # noqa: PLC0415 - not all rent

        wanted = checked_volumes(volumes)
        if max_total is not None:
            limit = checked_limit(max_total)
            try:
                quote = await self._price(targeting, wanted, urgent=True)
            except ResponseError as error:
                raise PriceExceededError(quote=None, max_total=limit) from error
            check_price(quote, limit)
        request = self._wire.targeting_request("rent", targeting, wanted)

        async def exchange(head: Head | None) -> Rental:
            send = partial(self._transport.exchange_alone, request, head=head)
            paid = PaidRequest(targeting, wanted, send, self._wire.rental, on_rented)
            return await paid.attempt()

        return await self._dispatcher.ask_urgently(request, exchange, proves_nothing_rented)

    async def status(self, token: str | HasToken) -> RentalStatus:
        """Ask once where a rental stands. Manual: "Rental Status".

        Raises:
            ValueError: a blank token. Nothing was sent.
            RentalNotFoundError: the vendor does not know this rental.
            RentalFailedError: the vendor says so by its error code 36.
            AlreadyDownloadedError: the vendor says so by its error code 34.
            SMSPartnerError: as `calculate`.
        """
        known = checked_token(token)
        request = self._wire.status_request(known)
        return await self._dispatcher.ask(request, lambda reply: self._wire.status(known, reply))

    async def wait_until_ready(
        self,
        token: str | HasToken,
        *,
        timeout: float | Default | None = Default.POLICY,  # noqa: ASYNC109 - public, and kept
        on_poll: Callable[[PollEvent], Awaitable[object] | object] | None = None,
    ) -> RentalStatus:
        """Ask again and again, ever more slowly, until the file is ready.

        Trouble that passes is ridden out: broken connections, timeouts, 408, 429, 5xx, replies
        that cannot be read. Cancelling it, or its timeout, does nothing to the rental.

        Args:
            token: the rental, from this process or another.
            timeout: seconds; 0 asks exactly once, `None` is endless; by default the polling
                policy's. It is kept to, requests in flight included.
            on_poll: plain or async; told of every check by a `PollEvent`. What it raises ends the
                wait; an async one is cut off at the deadline.

        Raises:
            ValueError: a blank token, or a timeout that is negative or NaN.
            WaitTimeoutError: not ready in time; wait again with the same token.
            RentalFailedError: the vendor could not make the file.
            AlreadyDownloadedError: the file was downloaded before.
            APIError: the vendor said no, and asking again would not change it.
            TransportError: too many failed checks in a row; so ResponseError.
        """
        return await self._wait(token, timeout, on_poll).until_ready()

    def watch(
        self, token: str | HasToken, *, timeout: float | Default | None = Default.POLICY
    ) -> AsyncGenerator[RentalStatus, None]:
        """Yield the status each time that its state has changed, the first one at once.

        Ends with the terminal one (ready, failed or downloaded), which is yielded, not raised.
        Otherwise as `wait_until_ready`.

        Raises:
            WaitTimeoutError: no terminal state in time.
            SMSPartnerError: as `wait_until_ready`.
        """
        return self._wait(token, timeout, None).changes()

    def notify(self, token: str | HasToken) -> bool:
        """Make those who wait for a rental ask now, within the request budget.

        For whatever the vendor calls: what such a call says is not believed, only the answer to
        the request that follows it. Tells whether anybody on this client was waiting. To be called
        on the client's event loop; from another thread, through `loop.call_soon_threadsafe`.
        """
        return self._lookout.nudge(checked_token(token))

    async def download(
        self,
        token: str | HasToken,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        on_progress: Callable[[int, int | None], Awaitable[object] | object] | None = None,
    ) -> ContactFile:
        """Download the rental's file. The vendor may serve it only once.

        What arrives goes to `<path>.part`, readable by its owner only, and gets its name when it
        is whole and safe on the disk. When it breaks off, the partial file stays. The file's
        format is undocumented by the vendor.

        Args:
            token: the rental.
            path: where the file goes; its folder must exist.
            overwrite: replace a file that is there.
            on_progress: plain or async; called with the bytes received and those expected (`None`
                where unknown). What it raises is logged, and the download goes on.

        Raises:
            ValueError: a blank token.
            FileExistsError: the file exists, or another download is writing it. Nothing was sent;
                or it appeared meanwhile, and the whole download is kept in `<path>.part`.
            OSError: the folder is missing or cannot be written to. Nothing was sent.
            DownloadInterruptedError: it broke off; what arrived is kept where the error says.
            AlreadyDownloadedError: the vendor does not serve it again (code 34).
            RentalFailedError: there is no file (code 36).
            APIError: no file yet, or another refusal (codes 32, 33, 35).
            TransportError: no byte of a file came.
            ResponseError: what came is no file; it is kept where a note of the error says.
        """
        known = checked_token(token)
        from ._download import Download, may_ask_again  # noqa: PLC0415 - not all clients download

        request = self._wire.download_request(known)
        exchange = Download(
            transport=self._transport,
            request=request,
            refusal=lambda reply: self._wire.file_refusal(known, reply),
            path=Path(path),
            overwrite=overwrite,
            on_progress=on_progress,
        ).attempt
        return await self._dispatcher.ask_urgently(request, exchange, may_ask_again)

    async def credits(self) -> Credits:
        """Tell the account's balance. Vendor's credits page.

        Raises:
            SMSPartnerError: as `calculate`.
        """
        return await self._dispatcher.ask(self._wire.credits_request(), self._wire.credits)

    async def _price(
        self, targeting: Targeting, volumes: Mapping[str, int] | None, *, urgent: bool
    ) -> Quote:
        request = self._wire.targeting_request("price", targeting, volumes)
        return await self._dispatcher.ask(
            request, lambda reply: self._wire.quote("price", reply), urgent=urgent
        )

    def _wait(
        self,
        token: str | HasToken,
        timeout: float | Default | None,
        on_poll: Callable[[PollEvent], Awaitable[object] | object] | None,
    ) -> Wait:
        from ._waiting import Wait  # noqa: PLC0415 - as above

        known = checked_token(token)
        given = self._polling.timeout if isinstance(timeout, Default) else timeout
        limit = checked_timeout(given)
        request = self._wire.status_request(known)
        dispatcher = self._dispatcher
        listeners = partial(self._lookout.listeners, known)

        async def ask(deadline: float | None) -> RentalStatus:
            return await dispatcher.poll(
                request,
                lambda reply: self._wire.status(known, reply),
                deadline,
                listeners,
            )

        return Wait(
            known,
            dispatcher.enter_poll,
            ask,
            dispatcher.patience,
            self._lookout,
            self._polling,
            limit,
            on_poll,
            dispatcher.listeners,
        )

    def _check_own(self) -> None:
        """Refuse to close, at the end of somebody's block, what others go on using."""
        if self._is_copy:
            raise ConfigurationError(
                "This is a copy made by with_options(). It is closed together with the client that "
                "it was made from, and cannot be closed on its own."
            )
