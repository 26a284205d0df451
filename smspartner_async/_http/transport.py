"""One HTTP exchange over aiohttp and nothing above it.

A triple comes out, or an error that says whether the request may have been sent. aiohttp's own
errors stay in here: many of them show the URL, and the URL of a GET shows the API key.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import math
import ssl as tls
from base64 import b64encode
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp import hdrs
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from smspartner_async._errors import ConfigurationError, ResponseError, TransportError
from smspartner_async._validation import check_type, checked_proxy
from smspartner_async._wire.reply import MAX_BODY, Reply

from .connections import HoldingConnector, connections_of, was_connecting
from .deadlines import Deadlines
from .rate_limiter import RateLimiter
from .state import HeldBackError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from smspartner_async._wire.codec import Request

    from .state import ResponseHead, SendState

_HEADERS: Final = {
    hdrs.ACCEPT: "application/json",
    hdrs.ACCEPT_ENCODING: "identity",  # aiohttp may not report a gzip body that was cut short
    hdrs.USER_AGENT: "smspartner-async",
}
_JSON: Final = {hdrs.CONTENT_TYPE: "application/json"}

# A Deadline bounds the time: aiohttp rounds its timeouts up to whole seconds, and drops its read
# timeout when a connection breaks behind a broken chunk.
_NO_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None)

# A large head, as some proxies make, must not cost a paid token or a file. Not all versions of
# aiohttp have all of these options.
_HEAD_LIMITS: Final[dict[str, Any]] = {
    name: limit
    for name, limit in {
        "max_line_size": 2**16,
        "max_field_size": 2**16,
        "max_headers": 1000,
    }.items()
    if name in inspect.signature(aiohttp.ClientSession).parameters
}

# Failures that prove that no byte of a request left.
_BEFORE_SENDING: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.ServerFingerprintMismatch,
)


class _Broken(Exception):  # noqa: N818 - never leaves this module
    """A broken connection, hidden from aiohttp, which would silently send a GET a second time."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


TRANSPORT_ERRORS: Final = (
    _Broken,
    aiohttp.ClientError,
    HttpProcessingError,  # from aiohttp's parser in plain Python
    OSError,
    RuntimeError,  # "Session is closed"
    ValueError,
)


async def _without_resending(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Broken(error) from None


class _QuietResponse(aiohttp.ClientResponse):
    """A response whose `repr`, which aiohttp puts into warnings, does not show the URL."""

    def __repr__(self) -> str:
        return f"<response {self.status}>"


class Transport:
    """Sends requests over HTTP.

    Requests that are safe to repeat share pooled connections, of the session that was passed in or
    of one made here. `open_unpooled` makes a connection for one request, and closes it afterwards.
    """

    def __init__(  # noqa: PLR0917 - what the constructor of a client takes by name
        self,
        base_url: str,
        request_timeout: float,
        ssl: tls.SSLContext | None,
        proxy: str | None,
        borrowed: aiohttp.ClientSession | None,
        max_requests_per_minute: float | None = None,
        max_connections: int = 100,
    ) -> None:
        connections = connections_of(borrowed, max_connections)
        self.base_url = base_url
        self.request_timeout = request_timeout
        self._borrowed = borrowed
        self.limiter = RateLimiter(max_requests_per_minute, connections)
        self._own: list[aiohttp.ClientSession] = []
        self._deadlines = Deadlines()
        trace = aiohttp.TraceConfig()  # one for all requests: it is made of eighteen signals
        trace.on_request_headers_sent.append(partial(_head_leaves, self.limiter))
        self._unpooled = {"trace_configs": [trace], "middlewares": (_without_resending,)}
        base = URL(base_url)
        self._base_path = base.raw_path.rstrip("/")
        self._scheme, self._authority = base.scheme, base.raw_authority
        options = self._options_for_all(ssl, checked_proxy(proxy))
        self._headers = _HEADERS | options["headers"]
        # A session that is made here has them for all of its requests.
        headers = {} if borrowed is None else self._headers
        self._get_options = options | {"headers": headers}
        self._post_options = options | {"headers": headers | _JSON}

    def with_timeout(self, request_timeout: float) -> Transport:
        """Make a copy with another time limit for requests, on the same connections."""
        other = copy.copy(self)
        other.request_timeout = request_timeout
        return other

    async def exchange(
        self, request: Request, deadline: float | None = None, head: ResponseHead | None = None
    ) -> Reply:
        """Send a request that is safe to repeat, over a pooled connection.

        aiohttp repeats a GET at once where a connection breaks before the head of a reply: so a
        server that closes idle connections fails no poll.

        Takes `request_timeout` seconds at most, and never runs past `deadline` (loop time).

        Raises:
            HeldBackError: a cool-down began before it had a connection. Nothing was sent.
            TransportError: no whole reply came.
            ResponseError: the reply is over the size limit.
        """
        session = self._pool()
        until = asyncio.get_running_loop().time() + self.request_timeout
        try:
            with self._deadlines.at(until if deadline is None else min(until, deadline)):
                response = await session.request(
                    request.method, self._url(request), **self._options(request)
                )
                if head is not None:
                    head.take(response)
                try:
                    return await _read_whole(request, response)
                finally:
                    response.close()  # without effect on a connection that is back in the pool
        except TRANSPORT_ERRORS as error:
            failure = self.explain(error)
        except asyncio.CancelledError:
            # Closing a session cancels what waits for its connections, in tasks that nobody
            # cancelled.
            task = asyncio.current_task()
            if not session.closed or task is None or task.cancelling():
                raise
            failure = self.explain(ConnectionAbortedError())
        # Raised outside the handler: aiohttp's error, which shows the URL, would be its context.
        raise failure

    async def send_unpooled(
        self, request: Request, sending: SendState, head: ResponseHead | None = None
    ) -> Reply:
        """Send a request exactly once, over a new connection.

        Raises:
            TransportError: no whole reply came; its `maybe_sent` is known from the connection.
            ResponseError: the reply is over the size limit.
        """
        reply: Reply | None = None
        failure: TransportError | None = None
        try:
            async with (
                asyncio.timeout(self.request_timeout),
                self.open_unpooled(request, sending, keep_body=True) as response,
            ):
                if head is not None:
                    head.take(response)
                reply = await _read_whole(request, response)
                if not sending.is_certain(reply) and sending.raw is not None:
                    await sending.raw.linger()
        except TRANSPORT_ERRORS as error:
            failure = self.explain(error, sending)
        except asyncio.CancelledError:
            if reply is None:
                raise
        if reply is not None:  # even if closing the connection failed, was cancelled or took long
            return reply
        assert failure is not None  # noqa: S101 - for the type checker
        raise failure

    @asynccontextmanager
    async def open_unpooled(
        self, request: Request, sending: SendState, *, keep_body: bool = False
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request over a new connection, and yield the response. aiohttp's errors pass.

        The server may just be closing a pooled connection, which would leave in doubt what it
        received. The caller bounds the time. `sending.raw` has the bytes of a reply whose head
        aiohttp refuses; with `keep_body`, of every reply.
        """
        from .raw_reply import RawReply, tap  # noqa: PLC0415 - for rents and downloads alone

        connector, raw = aiohttp.TCPConnector(force_close=True), RawReply(sending.raw_limit)
        sending.raw = raw if tap(connector, raw) else None
        session = self._new_session(connector, **self._unpooled)
        url, options = self._url(request), dict(self._options(request), trace_request_ctx=sending)
        async with session:
            with raw.held_open() if keep_body else nullcontext():
                async with session.request(request.method, url, **options) as response:
                    sending.reply_began = True
                    if not keep_body:
                        raw.stop()
                    yield response

    def explain(self, error: Exception, sending: SendState | None = None) -> TransportError:
        """Say in our own words what aiohttp, or the network, failed at. Nothing is chained."""
        error = error.error if isinstance(error, _Broken) else error
        if sending is not None and sending.raw is not None:
            sending.reply_began |= sending.raw.has_begun()
        if isinstance(error, aiohttp.ServerDisconnectedError) and sending is not None:
            # Where the beginning of a head came, aiohttp puts it in place of its message.
            sending.reply_began |= not isinstance(error.message, str)
            began = sending.reply_began
        else:
            began = True
        unsent = isinstance(error, _BEFORE_SENDING) or was_connecting(error)
        sent = not unsent if sending is None else sending.head_sent
        if sending is None and self._deadlines.all_ended and isinstance(error, TimeoutError):
            words = "The client was closed before a whole reply had come."
        elif sending is not None and sending.raw is not None and sending.raw.refused:
            words = "The reply is not valid HTTP."
        else:
            words = _error_text(error, self.request_timeout)
        return TransportError(words, maybe_sent=sent, reply_began=began)

    async def close(self) -> None:
        """End what is under way on pooled connections, and close what was made here.

        A borrowed session stays open.
        """
        # Before the session is closed: that would cancel requests that wait for a connection, in
        # tasks that nobody cancelled.
        try:
            await self._deadlines.end_all()
        finally:  # cancelled, too
            while self._own:
                await self._own.pop().close()

    def _pool(self) -> aiohttp.ClientSession:
        if self._borrowed is not None:
            if self._borrowed.closed:
                raise ConfigurationError(
                    "The session that was passed to this client is closed. Keep it open for as "
                    "long as the client is used, or let the client make its own."
                )
            return self._borrowed
        if not self._own:
            limit = math.ceil(self.limiter.max_connections)
            connector = HoldingConnector(self.limiter.is_paused, limit=limit)
            self._own.append(self._new_session(connector))
        return self._own[0]

    def _new_session(self, connector: aiohttp.TCPConnector, **more: Any) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            response_class=_QuietResponse,
            **_HEAD_LIMITS,
            **more,
        )

    def _url(self, request: Request) -> URL:
        # Built from its parts: parsing costs twice as much.
        path, _, query = request.target.partition("?")
        return URL.build(
            scheme=self._scheme,
            authority=self._authority,
            path=self._base_path + path,
            query_string=query,
            encoded=True,
        )

    def _options(self, request: Request) -> dict[str, Any]:
        if request.body is None:
            return self._get_options
        return {**self._post_options, "data": request.body}

    def _options_for_all(self, ssl: tls.SSLContext | None, proxy: URL | None) -> dict[str, Any]:
        # Passed with each request, since a borrowed session has other defaults.
        options: dict[str, Any] = {
            "allow_redirects": False,  # a redirect would take the key, or a paid request, elsewhere
            "auto_decompress": False,  # decompressed later, within the size limit
            "headers": {},
            "raise_for_status": False,
            "timeout": _NO_TIMEOUT,
        }
        if ssl is not None:
            check_type("ssl", ssl, tls.SSLContext)
            options["ssl"] = ssl
        if proxy is not None:
            options["proxy"] = proxy.with_user(None)
            if proxy.user or proxy.password:
                # Not left in the URL: aiohttp's warnings of unclosed connections show that.
                login = f"{proxy.user or ''}:{proxy.password or ''}".encode()
                proof = {"Proxy-Authorization": f"Basic {b64encode(login).decode()}"}
                secure = self.base_url.startswith("https:")
                options["proxy_headers" if secure else "headers"] = proof
        return options


async def _head_leaves(limiter: RateLimiter, _: object, context: Any, __: object) -> None:
    sending: SendState = context.trace_request_ctx
    if sending.before_head is not None:
        await sending.before_head()
    if limiter.is_paused():
        raise HeldBackError
    sending.head_sent = True


async def _read_whole(request: Request, response: aiohttp.ClientResponse) -> Reply:
    content = response.content
    body = b""
    while True:
        body += await content.readany()
        if len(body) > MAX_BODY:
            raise ResponseError(
                f"it is larger than {MAX_BODY} bytes",
                operation=request.operation,
                http_status=response.status,
            )
        if content.at_eof():  # most often after the first piece, which came with the head
            return Reply(response.status, response.headers, body)


def _error_text(error: Exception, timeout: float) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            words = f"TLS with {error.host} failed: {_reason(error.certificate_error)}."
        case aiohttp.ClientConnectorSSLError():
            words = f"TLS with {error.host} failed: {_reason(error.os_error)}."
        case aiohttp.ClientConnectorDNSError():
            words = f"The host name {error.host!r} cannot be resolved."
        case aiohttp.ClientConnectorError():
            words = f"No connection to {error.host}:{error.port}: {_reason(error.os_error)}."
        case aiohttp.ClientHttpProxyError():
            words = f"The proxy refused the connection (HTTP {error.status})."
        case TimeoutError():
            words = f"No whole reply came in time (request_timeout is {timeout:g} s)."
        case aiohttp.ClientResponseError():
            words = "The reply is not valid HTTP."
        case _:
            name = type(error).__name__
            words = f"The connection broke off before a whole reply had come ({name})."
    return words


def _reason(error: object) -> str:
    if isinstance(error, tls.SSLCertVerificationError):
        return error.verify_message
    return getattr(error, "strerror", None) or type(error).__name__
