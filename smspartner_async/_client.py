"""`SMSPartnerClient`: one method an operation."""

from __future__ import annotations

import copy
import os
from functools import partial
from typing import TYPE_CHECKING, Self

from ._http.frames import with_clear_frames
from ._http.options import ClientOptions
from ._http.pipeline import RequestPipeline
from ._http.state import copy_error
from ._http.transport import Transport
from ._operations.shared_poll import PollRegistry
from ._policies import Default, PollingPolicy, RetryPolicy, checked_timeout
from ._validation import checked_key, checked_limit, checked_token, checked_url
from ._values.hints import CLIENT_ARGUMENTS, OPTION_ARGUMENTS, explain_arguments
from ._values.volumes import checked_volumes, with_notes
from ._wire.codec import Wire

if TYPE_CHECKING:
    import ssl as tls
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
    from decimal import Decimal

    import aiohttp

    from ._http.exchange import Exchange
    from ._models import ContactFile, Credits, Quote, Rental, RentalStatus, Targeting
    from ._operations.poll import Poller
    from ._operations.status_poller import PollEvent
    from ._validation import HasToken


class SMSPartnerClient:
    """SMS Partner's contact rental. One client serves a whole service: make it once, share it.

    Use `async with SMSPartnerClient() as client:`, or `close()` it. It belongs to the event loop
    that first uses it. All durations are seconds.

    Args:
        api_key: the account's key; by default that in the environment's SMSPARTNER_API_KEY.
        base_url: by default that in SMSPARTNER_BASE_URL, or else the vendor's. `https://`, or
            `http://` to this machine only, since every request carries the key.
        session: a session to share connections with. It is borrowed: never closed. Paid requests
            and downloads use connections of the client's own all the same.
        request_timeout: bounds one request from its turn in the queue to its last byte; above 0. A
            download is bounded by it up to its reply, then between two pieces of it.
        retry: how one request is tried again where that is safe.
        polling: how a wait asks, and for how long.
        max_requests_per_minute: shared by all requests of this client; `None` is no limit.
            The vendor's limit for rentals is undocumented (360 for two other operations).
        max_connections: open at once at most, for all that is safe to pool; above 0, or fewer where
            a session's connector allows fewer. While your own requests keep its connections busy,
            the client's wait there, and count as sent.
        ssl: a TLS context in place of the system's usual one.
        proxy: URL of an HTTP proxy.
        on_exchange: called with an `Exchange` after each request. What it raises is logged, and
            the call continues.

    Raises:
        ConfigurationError: a blank key, or a base URL that would show it to others.
        ValueError: a number out of its range.
        TypeError: an argument of another type.
    """

    @explain_arguments(CLIENT_ARGUMENTS)
    @with_clear_frames
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
        options = ClientOptions(request_timeout=request_timeout, retry=retry, polling=polling)
        options = options.changed(on_exchange)
        self._wire = Wire(checked_key(api_key))
        limits = max_requests_per_minute, max_connections
        way = checked_url(base_url), request_timeout, ssl, proxy, session
        self._pipeline = RequestPipeline(Transport(*way, *limits), self._wire.without_key, options)
        self._polls = PollRegistry()
        self._is_copy = False

    @classmethod
    @with_clear_frames
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
        `SMSPARTNER_POLLING_TIMEOUT` (which may be `none`). One that is blank counts as not set. A
        `session`, an `ssl` and an `on_exchange` are the constructor's.

        >>> client = SMSPartnerClient.from_env()

        Raises:
            ConfigurationError: it names every variable that is wrong.
        """
        from ._environment import options_in  # noqa: PLC0415 - read at most once in a process

        return cls(**options_in(os.environ), session=session, ssl=ssl, on_exchange=on_exchange)

    @explain_arguments(OPTION_ARGUMENTS)
    def with_options(
        self,
        *,
        request_timeout: float | None = None,
        retry: RetryPolicy | None = None,
        polling: PollingPolicy | None = None,
        on_exchange: Callable[[Exchange], object] | None = None,
    ) -> Self:
        """Make a copy for calls that need other options. It costs next to nothing.

        It shares all else with this client: connections, rate, cool-down, and the requests of
        waits for the same rental. It is closed with this client, and cannot be on its own.

        >>> patient = client.with_options(request_timeout=120)

        The arguments are the constructor's; what is `None` stays as it is in this client. An
        `on_exchange` is called as well as that of this client. A wait calls it for every request
        about its rental that begins while it waits, whichever of several waits sent it.

        Raises:
            ValueError: a number out of its range.
        """
        options = self._pipeline.options.changed(
            on_exchange, request_timeout=request_timeout, retry=retry, polling=polling
        )
        other = copy.copy(self)
        other._pipeline = self._pipeline.with_options(options)  # noqa: SLF001 - of the same class
        other._is_copy = True  # noqa: SLF001 - of the same class
        return other

    def __repr__(self) -> str:
        return f"<SMSPartnerClient {self._pipeline.transport.base_url}>"

    async def __aenter__(self) -> Self:
        if self._is_copy:
            raise copy_error()
        self._pipeline.state.check_usable()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the client's own connections, and end its waits with a `ConfigurationError`.

        A rent in flight still runs to its answer; any other call under way ends with a
        `TransportError`.

        >>> await client.close()

        Raises:
            ConfigurationError: this is a copy made by `with_options`.
        """
        if self._is_copy:
            raise copy_error()
        self._pipeline.state.close()
        try:
            await self._polls.close()
        finally:
            await self._pipeline.close()

    async def calculate(self, targeting: Targeting) -> Quote:
        """Count the contacts that match; free. Manual: "Targeting & Calculation", `calcul`.

        >>> quote = await client.calculate(women)

        Raises:
            APIError: the vendor said no; see its subclasses.
            TransportError: no whole reply came, also on further tries.
            ResponseError: the reply is not the vendor's.
        """
        request = self._wire.targeting_request("calculate", targeting)
        return await self._pipeline.send(request, partial(self._wire.quote, "calculate"))

    async def price(self, targeting: Targeting, volumes: Mapping[str, int] | None = None) -> Quote:
        """Return the price of a targeting; free. Manual: "Targeting & Calculation", `price`.

        >>> quote = await client.price(women, {"06200": 20})

        Args:
            targeting: whom to reach.
            volumes: contacts wanted for a post code or department, targeted or not; `None` is all
                that match. What they mean for areas that they do not name is undocumented: the
                quote's `notes` say where that matters.

        Raises:
            TargetingError: volumes that cannot be right. Nothing was sent.
            SMSPartnerError: as `calculate`.
        """
        return await self._price(targeting, checked_volumes(volumes), priority=False)

    async def rent(
        self,
        targeting: Targeting,
        volumes: Mapping[str, int] | None = None,
        *,
        max_total: Decimal | int | None = None,
        on_rented: Callable[[Rental], Awaitable[object] | object] | None = None,
    ) -> Rental:
        """Rent the contacts. This spends money, and is sent at most once.

        >>> rental = await client.rent(women, {"06200": 20}, max_total=Decimal("5.00"))

        Manual: "Targeting & Calculation", `rent`; its reply is undocumented. Cancelling does not
        take back a request under way: it runs to its answer (within `request_timeout`), `on_rented`
        is called, and when that has ended, the cancellation continues.

        Args:
            targeting: whom to reach.
            volumes: contacts wanted for a post code or department; `None` rents all that match.
            max_total: price first, and do not rent when the total is above this. Exact: no `float`.
            on_rented: plain or async; called with the `Rental` before anything else happens, to
                store its token. What it raises is logged, and the rental still returned.

        Raises:
            TargetingError: volumes that cannot be right. Nothing was sent.
            PriceExceededError: the price is above `max_total`, or unknown. Nothing was rented.
            RentOutcomeUnknownError: it may have been charged. Do not rent again before checking.
            APIError: the vendor said no. Nothing was rented.
            TransportError: nothing was sent, also on further tries. Nothing was rented.
            TypeError: an argument of another type, or an inexact `max_total`. Nothing was sent.
        """
        from ._operations.rent import Purchase  # noqa: PLC0415 - not all rent

        wanted = checked_volumes(volumes)
        return await Purchase(
            pipeline=self._pipeline,
            codec=self._wire,
            price=partial(self._price, targeting, wanted, priority=True),
            targeting=targeting,
            volumes=wanted,
            max_total=None if max_total is None else checked_limit(max_total),
            on_rented=on_rented,
        ).run()

    async def status(self, token: str | HasToken) -> RentalStatus:
        """Ask once where a rental stands. Manual: "Rental Status".

        >>> status = await client.status(token)

        Raises:
            ValueError: a blank token. Nothing was sent.
            RentalNotFoundError: the vendor does not know this rental.
            AlreadyDownloadedError: the vendor says so by code 34; RentalFailedError: by code 36.
            SMSPartnerError: as `calculate`.
        """
        known = checked_token(token)
        request = self._wire.status_request(known)
        return await self._pipeline.send(request, partial(self._wire.status, known))

    async def wait_until_ready(
        self,
        token: str | HasToken,
        *,
        timeout: float | Default | None = Default.POLICY,  # noqa: ASYNC109 - public, and kept
        on_poll: Callable[[PollEvent], Awaitable[object] | object] | None = None,
    ) -> RentalStatus:
        """Ask again and again, ever more slowly, until the file is ready.

        Errors that pass do not end it: broken connections, timeouts, 408, 429, 5xx, replies
        that cannot be read. Cancelling it, or its timeout, does nothing to the rental.

        >>> status = await client.wait_until_ready(token, timeout=900)

        Args:
            token: the rental, from this process or another.
            timeout: seconds; 0 asks exactly once, `None` is endless; by default the polling
                policy's. It is kept to, requests in flight included.
            on_poll: plain or async; called with a `PollEvent` after every check. What it raises
                ends the wait; an async one is cut off at the deadline.

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

        Ends with the terminal one, which is yielded, not raised. Else as `wait_until_ready`.

        >>> async for status in client.watch(token):
        ...     print(status.state.name)
        READY

        Raises:
            WaitTimeoutError: no terminal state in time.
            SMSPartnerError: as `wait_until_ready`.
        """
        return self._wait(token, timeout, None).changes()

    def notify(self, token: str | HasToken) -> bool:
        """Make the waits for a rental poll now, at the client's rate; return whether there are any.

        For a handler of the vendor's calls, which are not believed: only the answer to this poll
        is. Call it on the client's event loop (from a thread: `loop.call_soon_threadsafe`).

        >>> somebody_was_waiting = client.notify(token)
        """
        return self._polls.wake(checked_token(token))

    async def download(
        self,
        token: str | HasToken,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        on_progress: Callable[[int, int | None], Awaitable[object] | object] | None = None,
    ) -> ContactFile:
        """Download the rental's file. It may be served only once; its format is undocumented.

        >>> file = await client.download(token, "contacts.csv")

        What arrives goes to `<path>.part`, for its owner only, beside a small `<path>.part.json`,
        and gets its name when it is whole and safe on the disk. A part that these prove whole after
        a crash is finished by the next call with this token and path, and the vendor is not asked.

        Cancelling stops the transfer, and keeps what arrived. The vendor may count the file as
        served by then: run a download that must not be lost in a separate task.

        Args:
            token: the rental. A `RentalStatus` also says how much room its numbers may need.
            path: where the file goes; its folder must exist.
            overwrite: replace a file that is there.
            on_progress: plain or async; called with the bytes received and those expected (`None`
                where unknown). What it raises is logged, and the download continues.

        Raises:
            ValueError: a blank token.
            FileExistsError: the file exists, or another download is writing it. Nothing was sent;
                or it appeared meanwhile, and the whole download is kept in `<path>.part`.
            OSError: the folder cannot be written to, or has too little room. Nothing was sent.
            DownloadInterruptedError: it broke off; what arrived is kept where the error says.
            AlreadyDownloadedError: the vendor does not serve it again (code 34).
            RentalFailedError: there is no file (code 36).
            APIError: no file yet, or another refusal (codes 32, 33, 35).
            TransportError: no byte of a file came.
            ResponseError: what came is no file; where it may hold numbers, a note says where it is.
        """
        from ._operations.download import Download  # noqa: PLC0415 - not all clients download

        parts = self._pipeline, self._wire, self.status
        return await Download(*parts, token, path, overwrite, on_progress).run()

    async def credits(self) -> Credits:
        """Return the account's balance.

        >>> credits = await client.credits()

        Raises:
            SMSPartnerError: as `calculate`.
        """
        return await self._pipeline.send(self._wire.credits_request(), self._wire.credits)

    async def _price(
        self, targeting: Targeting, volumes: Mapping[str, int] | None, *, priority: bool
    ) -> Quote:
        request = self._wire.targeting_request("price", targeting, volumes)
        sent = self._pipeline.send(request, partial(self._wire.quote, "price"), priority=priority)
        return with_notes(await sent, targeting, volumes)

    def _wait(
        self,
        token: str | HasToken,
        timeout: float | Default | None,
        on_poll: Callable[[PollEvent], Awaitable[object] | object] | None,
    ) -> Poller:
        from ._operations.poll import Poller  # noqa: PLC0415 - not all clients wait
        from ._operations.status_poller import StatusPoller  # noqa: PLC0415 - not all clients wait

        poller = StatusPoller(checked_token(token), self._wire, self._pipeline)
        given = poller.options.polling.timeout if isinstance(timeout, Default) else timeout
        return Poller(poller, self._polls, checked_timeout(given), on_poll)
