"""One HTTP exchange over aiohttp and nothing above it.

A triple comes out, or an error that says whether the request may have been sent. aiohttp's own
errors stay in here: many of them show the URL, and the URL of a GET shows the API key.
"""

from __future__ import annotations

import asyncio
import copy
import ssl as tls
from base64 import b64encode
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp import hdrs
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from ._deadlines import Deadlines
from ._errors import ConfigurationError, ResponseError, TransportError
from ._reply import MAX_BODY, Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from ._wire import Request

_HEADERS: Final = {
    hdrs.ACCEPT: "application/json",
    hdrs.ACCEPT_ENCODING: "identity",  # of a gzip body cut short nobody may be told
    hdrs.USER_AGENT: "smspartner-async",
}
_JSON_HEADERS: Final = {**_HEADERS, hdrs.CONTENT_TYPE: "application/json"}

# asyncio.timeout() bounds the time: aiohttp rounds its deadlines up to whole seconds, and forgets
# its read timeout when a connection breaks off behind a broken chunk.
_NO_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None)

# Failures that prove that no byte of a request left.
_BEFORE_SENDING: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.ServerFingerprintMismatch,
)


class _Broken(Exception):  # noqa: N818 - never leaves this module
    """Carries a broken connection past aiohttp, which would silently send a GET a second time."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


FAILURES: Final = (
    _Broken,
    aiohttp.ClientError,
    HttpProcessingError,  # from aiohttp's parser in plain Python
    OSError,
    RuntimeError,  # "Session is closed"
    ValueError,
)


async def _never_twice(
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


def checked_proxy(proxy: str | None) -> URL | None:
    """Let the URL of an HTTP proxy through, which is not shown: it may hold a password.

    Raises:
        ConfigurationError: aiohttp would refuse it, or leave it out without a word.
    """
    if proxy is None:
        return None
    try:
        url = URL(proxy)
    except (ValueError, TypeError):
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError("proxy must begin with http:// or https:// and a host name.")
    return url


class Head:
    """Of a reply: for those who want to know it, whatever comes behind it."""

    def __init__(self) -> None:
        self.http_status: int | None = None
        self.headers: Mapping[str, str] = {}

    def take(self, response: aiohttp.ClientResponse) -> None:
        """Keep it."""
        self.http_status, self.headers = response.status, response.headers


class Sending:
    """What is known of one request under way."""

    head_sent: bool = False
    """Set just before the first byte leaves; while it is `False`, the vendor has seen nothing."""
    reply_began: bool = False


class Transport:
    """Where and how requests go out.

    Requests that are safe to repeat share pooled connections, of the session that was passed in or
    of one made here. `alone` takes a new connection for each request and closes it afterwards.
    """

    def __init__(
        self,
        base_url: str,
        request_timeout: float,
        ssl: tls.SSLContext | None,
        proxy: str | None,
        borrowed: aiohttp.ClientSession | None,
        *,
        max_connections: int = 100,
    ) -> None:
        self.base_url = base_url
        self.request_timeout = request_timeout
        self._borrowed = borrowed
        self.max_connections = max_connections
        self._own: list[aiohttp.ClientSession] = []
        self._deadlines = Deadlines()
        self._base = URL(base_url)
        options = self._options_for_all(ssl, checked_proxy(proxy))
        self._get_options = options | {"headers": _HEADERS | options["headers"]}
        self._post_options = options | {"headers": _JSON_HEADERS | options["headers"]}

    def with_timeout(self, request_timeout: float) -> Transport:
        """Make one with other patience, on the same connections."""
        other = copy.copy(self)
        other.request_timeout = request_timeout
        return other

    async def exchange(
        self, request: Request, deadline: float | None = None, head: Head | None = None
    ) -> Reply:
        """Send a request that is safe to repeat, over a pooled connection.

        aiohttp sends a GET once more, at once, where a connection breaks before the head of a
        reply: a server that closes idle connections costs no poll.

        Takes `request_timeout` seconds at most, and never runs past `deadline` (loop time).

        Raises:
            TransportError: no whole reply came.
            ResponseError: the reply is over the size limit.
        """
        session = self._pool()
        until = asyncio.get_running_loop().time() + self.request_timeout
        scope = self._deadlines.add(until if deadline is None else min(until, deadline))
        try:
            async with scope:
                response = await session.request(
                    request.method, self._url(request), **self._options(request)
                )
                if head is not None:
                    head.take(response)
                try:
                    return await _whole(request, response)
                finally:
                    response.close()  # without effect on a connection that is back in the pool
        except FAILURES as error:
            failure = self.explain(error)
        finally:
            self._deadlines.discard(scope)
        # Not inside the handler: aiohttp's error, and the URL in it, would hang on as context.
        raise failure

    async def exchange_alone(
        self, request: Request, sending: Sending, head: Head | None = None
    ) -> Reply:
        """Send a request over a connection of its own, exactly once.

        Raises:
            TransportError: no whole reply came; `maybe_sent` is told from the connection itself.
            ResponseError: the reply is over the size limit.
        """
        reply: Reply | None = None
        failure: TransportError | None = None
        try:
            async with (
                asyncio.timeout(self.request_timeout),
                self.alone(request, sending) as response,
            ):
                if head is not None:
                    head.take(response)
                reply = await _whole(request, response)
        except FAILURES as error:
            failure = self.explain(error, sending)
        except asyncio.CancelledError:
            if reply is None:
                raise
        if reply is not None:  # even if closing the connection failed, was cancelled or took long
            return reply
        assert failure is not None  # noqa: S101 - told to the type checker
        raise failure

    @asynccontextmanager
    async def alone(
        self, request: Request, sending: Sending
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open a response on a connection of its own, with aiohttp's errors as they are.

        A pooled connection may be one that the server is closing; a new one takes that doubt away.
        Time is for the caller to bound.
        """

        async def head_leaves(*_: object) -> None:
            sending.head_sent = True

        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(head_leaves)
        async with (
            self._new_session(
                aiohttp.TCPConnector(force_close=True),
                trace_configs=[trace],
                middlewares=(_never_twice,),
            ) as session,
            session.request(
                request.method,
                self._url(request),
                **self._options(request),
            ) as response,
        ):
            sending.reply_began = True
            yield response

    def explain(self, error: Exception, sending: Sending | None = None) -> TransportError:
        """Say in our own words what aiohttp, or the network, failed at. Nothing is chained."""
        if isinstance(error, _Broken):
            error = error.error
        if isinstance(error, aiohttp.ServerDisconnectedError) and sending is not None:
            # aiohttp puts the beginning of a head, where one came, in place of its own words.
            sending.reply_began |= not isinstance(error.message, str)
            began = sending.reply_began
        else:
            began = True
        sent = not isinstance(error, _BEFORE_SENDING) if sending is None else sending.head_sent
        if sending is None and self._deadlines.all_ended and isinstance(error, TimeoutError):
            words = "The client was closed before a whole reply had come."
        else:
            words = _in_words(error, self.request_timeout)
        return TransportError(words, maybe_sent=sent, reply_began=began)

    async def close(self) -> None:
        """End what is under way on pooled connections, and close what was made here.

        A borrowed session stays open.
        """
        # Before the session is closed: that would cancel requests that wait for a connection, in
        # tasks that nobody cancelled.
        await self._deadlines.end_all()
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
            self._own.append(self._new_session(aiohttp.TCPConnector(limit=self.max_connections)))
        return self._own[0]

    def _new_session(self, connector: aiohttp.TCPConnector, **more: Any) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            response_class=_QuietResponse,
            **more,
        )

    def _url(self, request: Request) -> URL:
        # Put together, not parsed: parsing costs twice as much.
        path, _, query = request.target.partition("?")
        base = self._base
        return URL.build(
            scheme=base.scheme,
            authority=base.raw_authority,
            path=base.raw_path.rstrip("/") + path,
            query_string=query,
            encoded=True,
        )

    def _options(self, request: Request) -> dict[str, Any]:
        if request.body is None:
            return self._get_options
        return {**self._post_options, "data": request.body}

    def _options_for_all(self, ssl: tls.SSLContext | None, proxy: URL | None) -> dict[str, Any]:
        # Said for each request, because a borrowed session has ideas of its own.
        options: dict[str, Any] = {
            "allow_redirects": False,  # a redirect would take the key, or a paid request, elsewhere
            "auto_decompress": False,  # decompressed later, within the size limit
            "headers": {},
            "raise_for_status": False,
            "timeout": _NO_TIMEOUT,
        }
        if ssl is not None:
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


async def _whole(request: Request, response: aiohttp.ClientResponse) -> Reply:
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


def _in_words(error: Exception, timeout: float) -> str:
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
