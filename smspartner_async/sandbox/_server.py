"""The sandbox itself: the vendor's routes over an account, on a loopback address."""

import asyncio
import contextlib
import ipaddress
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Final, Protocol, Self, TypeAlias

from aiohttp import web

from . import _replies, _rules
from ._account import Account, Rental, SandboxRental
from ._answers import answer, refusal
from ._arguments import check
from ._faults import OPERATIONS, Faults
from ._rules import RefusedError

_HIGHEST_PORT: Final = 65535
# Requests are answered at once: nothing is worth waiting for when the sandbox closes.
_SHUTDOWN_TIMEOUT: Final = 0.25

_OPTIN: Final = "/v1/location/optin"
_STATUS: Final = "/v1/location/status"
_DOWNLOAD: Final = "/v1/location/file/download"
_CREDITS: Final = "/v1/me"
_OPERATIONS: Final = {_STATUS: "status", _DOWNLOAD: "download", _CREDITS: "credits"}

_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HasToken(Protocol):
    @property
    def token(self) -> str: ...


class Sandbox(Faults):
    """SMS Partner's contact rental on localhost, with an account whose money is made up.

    Use it as an async context manager, or call `start` and `close`. It keeps its account and
    its rentals when it is closed and started again.

    >>> async with Sandbox(speed=50) as sandbox:
    ...     client = SMSPartnerClient(sandbox.api_key, base_url=sandbox.base_url)

    A rental is requested (0) for 2 s, generating (1) for 6 s, and then ready (2) or failed (3);
    `speed` divides these times. Time is that of the event loop, so a loop in virtual time
    drives it. A file is served once; from then on the rental is downloaded (5).

    What goes wrong is said beforehand: `fail_next_rental`, `lose_next_reply`, `limit_requests`
    and their like. What came of it is asked afterwards: `assert_paid` and `assert_requests`.

    A contact costs 0.09 euros. A post code holds `50 + code % 368` contacts, a department
    `10 * (50 + code % 368)` (`2A` and `2B` count as 20), and the whole country 9,000.

    Args:
        api_key: The one key that is accepted.
        balance: Euros on the account to begin with.
        speed: How many times faster than the clock rentals age.
        host: A loopback address, or `localhost`; anything else is a `ValueError`.
        port: TCP port; 0 takes a free one.
        fail_every: Makes every rental whose number is a multiple of it end in state 3.
        refuse_with: One of the codes 20, 30, 40 and 96: refuses every request that carries
            the right key, as the vendor does for a closed account or a forbidden address.
    """

    def __init__(
        self,
        *,
        api_key: str = "sandbox-key",
        balance: Decimal = Decimal(1000),
        speed: float = 1.0,
        host: str = "127.0.0.1",
        port: int = 0,
        fail_every: int | None = None,
        refuse_with: int | None = None,
    ) -> None:
        for name, text in (("api_key", api_key), ("host", host)):
            check(isinstance(text, str), name, "text", text, TypeError)
        check(type(port) is int, "port", "a whole number", port, TypeError)
        check(api_key.strip(), "api_key", "a text that is not blank", api_key)
        check(0 <= port <= _HIGHEST_PORT, "port", f"between 0 and {_HIGHEST_PORT}", port)
        fits = refuse_with is None or refuse_with in _rules.ACCESS_REFUSALS
        check(fits, "refuse_with", f"one of {sorted(_rules.ACCESS_REFUSALS)}", refuse_with)
        super().__init__()
        self._account = Account(balance=balance, speed=speed, fail_every=fail_every)
        self._api_key = api_key
        self._host = _loopback(host)
        self._port = port
        self._refuse_with = refuse_with
        self._turn = 0
        self._requests: Counter[str] = Counter()
        self._runner: web.AppRunner | None = None

    def __repr__(self) -> str:
        where = "closed" if self._runner is None else self.base_url
        return f"<Sandbox {where}: {len(self.rentals)} rentals, {self.paid} euros paid>"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Listen.

        Raises `OSError`, with a sentence as its `strerror`, when the port cannot be had, and
        `RuntimeError` when the sandbox is running.

        >>> sandbox = Sandbox(speed=50)
        >>> await sandbox.start()
        >>> await sandbox.close()
        """
        if self._runner is not None:
            raise RuntimeError("The sandbox is already running.")
        # GETs carry the key in their query string, which an access log would show.
        runner = web.AppRunner(
            self._application(), access_log=None, shutdown_timeout=_SHUTDOWN_TIMEOUT
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError as error:
            await runner.cleanup()
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise OSError(
                error.errno,
                f"The sandbox cannot listen on {self._host} port {self._port}: {reason}."
                " Choose another port, or 0 for a free one.",
            ) from None
        self._now = asyncio.get_running_loop().time
        self._runner = runner

    async def close(self) -> None:
        """Stop listening and close every connection. Closing twice does nothing.

        >>> await sandbox.close()
        """
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    @property
    def base_url(self) -> str:
        """Base URL for a client, up to and including `/v1`."""
        if self._runner is None:
            raise RuntimeError("The sandbox is not running: use `async with`, or await start().")
        port: int = self._runner.addresses[0][1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{port}/v1"

    @property
    def api_key(self) -> str:
        """The key that is accepted."""
        return self._api_key

    @property
    def balance(self) -> Decimal:
        """Euros left on the account."""
        return self._account.balance

    @property
    def paid(self) -> Decimal:
        """Euros paid for rentals so far."""
        return self._account.paid

    @property
    def rentals(self) -> tuple[SandboxRental, ...]:
        """Every rental so far, oldest first, as it is now."""
        return self._account.view(self._now())

    @property
    def requests(self) -> Counter[str]:
        """Number of requests so far, refused ones included, by operation.

        The operations are `calculate`, `price`, `rent`, `status`, `download` and `credits`;
        a POST that names no operation of the vendor counts as `unknown`.
        """
        return self._requests

    def fail_next_rental(self, count: int = 1) -> None:
        """Let the next `count` rentals end in state 3, beside those that already will.

        >>> sandbox.fail_next_rental()
        """
        self._account.end_next(_replies.FAILED, count)

    def hold_next_rental(self, count: int = 1) -> None:
        """Let the next `count` rentals stay generating (1), until `make_ready` or `make_failed`.

        >>> sandbox.hold_next_rental(count=2)
        """
        self._account.end_next(_replies.GENERATING, count)

    def make_generating(self, token: str | HasToken) -> None:
        """Put a rental into state 1 now, where it stays. Raises `ValueError` for an unknown one.

        >>> sandbox.make_generating(rental)
        """
        self._move(token, _replies.GENERATING)

    def make_ready(self, token: str | HasToken) -> None:
        """Make the file of a rental now: state 2. One that was downloaded is served once more.

        >>> sandbox.make_ready(rental)
        """
        self._move(token, _replies.READY)

    def make_failed(self, token: str | HasToken) -> None:
        """Let a rental fail now: state 3. It is not paid back.

        >>> sandbox.make_failed(rental)
        """
        self._move(token, _replies.FAILED)

    def assert_paid(self, euros: Decimal | int | str) -> None:
        """Raise an `AssertionError` that shows the whole account, unless just this was paid.

        >>> sandbox.assert_paid("1.80")
        """
        __tracebackhide__ = True
        if self.paid != Decimal(str(euros)):
            raise AssertionError(
                f"{self.paid} euros were paid, not {euros}.\n{self._account_of_it()}"
            )

    def assert_requests(self, **counts: int) -> None:
        """Raise an `AssertionError` that shows the whole account, unless so many requests came.

        Given by operation, as in `assert_requests(rent=1, price=0)`; others are not checked.

        >>> sandbox.assert_requests(rent=1, download=0)
        """
        __tracebackhide__ = True
        if unknown := counts.keys() - OPERATIONS:
            raise ValueError(f"Operations are {', '.join(OPERATIONS)}; not {', '.join(unknown)}.")
        wrong = {name: count for name, count in counts.items() if self.requests[name] != count}
        if wrong:
            wrong_counts = "; ".join(f"{self.requests[n]} of {n}, not {wrong[n]}" for n in wrong)
            raise AssertionError(f"Requests that came: {wrong_counts}.\n{self._account_of_it()}")

    def _account_of_it(self) -> str:
        """Describe what happened so far, for whoever has to find out why a test failed."""
        requests = ", ".join(f"{name} {count}" for name, count in self.requests.items())
        rentals = [
            f"{each.token[:8]}…: {each.contacts} contacts, {each.price} euros, state {each.state}"
            for each in self.rentals
        ]
        return "\n".join(
            [
                f"Requests: {requests or 'none'}",
                f"Rentals:  {'; '.join(rentals) or 'none'}",
                f"Faults that were not played: {', '.join(self._still_planned()) or 'none'}",
            ]
        )

    def _move(self, token: str | HasToken, state: int) -> None:
        self._account.move(token if isinstance(token, str) else token.token, state)

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[_answer_refusals, self._answer])
        application.router.add_post(_OPTIN, self._optin)
        for path, handler in (
            (_STATUS, self._status),
            (_DOWNLOAD, self._download),
            (_CREDITS, self._credits),
        ):
            # A HEAD must not use up a file.
            application.router.add_get(path, handler, allow_head=False)
        return application

    @web.middleware
    async def _answer(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Count a request, and answer it with whatever fault is planned."""
        if request.match_info.http_exception is not None:  # a path or method of nobody's
            return await handler(request)
        operation = _OPERATIONS.get(request.path) or await _posted(request)
        self._requests[operation] += 1
        return await self._play(operation, request, lambda: handler(request))

    async def _optin(self, request: web.Request) -> web.Response:
        body = _rules.read_body(await request.read())
        self._check_access(body.get("apiKey"))
        order = _rules.read_order(body)
        if order.op != "rent":
            return answer(_replies.quote(order, self._spelling()))
        rental = self._account.rent(order, self._now())
        return answer(_replies.receipt(order, rental.token, self._spelling()))

    async def _status(self, request: web.Request) -> web.Response:
        rental = self._find(request)
        state = self._account.state(rental, self._now())
        payload = _replies.status(rental.order, rental.token, state, self._spelling())
        return answer(payload)

    async def _download(self, request: web.Request) -> web.Response:
        rental = self._find(request)
        name = f"contacts-{rental.token[:8]}.csv"
        return web.Response(
            body=self._account.take_file(rental, self._now()),
            content_type="text/csv",
            charset="utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    async def _credits(self, request: web.Request) -> web.Response:
        self._check_access(request.query.get("apiKey"))
        return answer(_replies.credit(self._account.balance))

    def _find(self, request: web.Request) -> Rental:
        self._check_access(request.query.get("apiKey"))
        return self._account.find(request.query.get("token", ""))

    def _check_access(self, api_key: object) -> None:
        if api_key is None or api_key == "":
            raise RefusedError(1)
        if api_key != self._api_key:
            raise RefusedError(10)
        if self._refuse_with is not None:
            raise RefusedError(self._refuse_with)

    def _spelling(self) -> _replies.Spelling:
        spelling = _replies.Spelling(self._turn)
        self._turn += 1
        return spelling


async def _posted(request: web.Request) -> str:
    """Name the operation of a POST."""
    try:
        return _rules.operation(_rules.read_body(await request.read()))
    except RefusedError:
        return "unknown"


@web.middleware
async def _answer_refusals(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RefusedError as refused:
        return refusal(refused.code)


def _loopback(host: str) -> str:
    """Return the address to bind to, or refuse one that others could reach."""
    # The name may stand for two addresses, which would get two ports.
    if host == "localhost":
        return "127.0.0.1"
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return host
    raise ValueError(
        f"The sandbox binds to loopback only: host must be 127.0.0.1, ::1 or localhost,"
        f" not {host!r}."
    )
