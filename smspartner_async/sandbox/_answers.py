"""Replies as HTTP has them: a payload's, a refusal's, and such as are written byte by byte."""

import gzip
import json
from collections.abc import Callable, Mapping
from email.utils import formatdate
from functools import partial
from http.client import responses
from typing import Any, Literal, TypeAlias

import attrs
from aiohttp import web

from . import _replies

Framing: TypeAlias = Literal["length", "chunked", "close"]


def answer(payload: Mapping[str, Any], status: int = 200) -> web.Response:
    """Answer with a payload, as JSON."""
    return web.json_response(payload, status=status, dumps=partial(json.dumps, ensure_ascii=False))


def refusal(code: int) -> web.Response:
    """Answer with one of the vendor's error codes."""
    return answer(_replies.error(code), _replies.HTTP_STATUS.get(code, 200))


def hang_up(request: web.Request, last_words: bytes = b"") -> web.Response:
    """Close a request's connection after these bytes; return a response that will not be sent."""
    if request.transport is not None:
        request.transport.write(last_words)
        request.transport.close()
    return web.Response()


def body_of(whole: web.StreamResponse) -> bytes:
    """Return the body of a reply, which may be empty."""
    body: bytes = getattr(whole, "body", None) or b""
    return body


@attrs.frozen(kw_only=True)
class Alteration:
    """Writes a reply in another way, by hand: aiohttp would refuse to send some of it."""

    status: int | None = None
    media_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    rewrite: Callable[[bytes], bytes] | None = None
    framing: Framing = "length"
    compressed: bool = False
    cut_after: int | None = None
    trailing: bytes = b""
    rewrite_all: Callable[[bytes], bytes] | None = None

    def write(self, whole: web.StreamResponse) -> bytes:
        """Write all bytes of a reply, up to where its connection is closed."""
        reply = self._reply(whole)
        return reply if self.rewrite_all is None else self.rewrite_all(reply)

    def _reply(self, whole: web.StreamResponse) -> bytes:
        body = body_of(whole) if self.rewrite is None else self.rewrite(body_of(whole))
        if self.compressed:
            body = gzip.compress(body)
        framed = b"%x\r\n%b\r\n" % (len(body), body) if self.framing == "chunked" and body else body
        end = b"0\r\n\r\n" if self.framing == "chunked" else b""
        if self.cut_after is None:
            return self._head(whole, len(body)) + framed + end + self.trailing
        return self._head(whole, len(body)) + framed[: self.cut_after]

    def _head(self, whole: web.StreamResponse, length: int) -> bytes:
        status = self.status or whole.status
        lines = dict(whole.headers) | {"Date": formatdate(usegmt=True)}
        if self.media_type is not None:
            lines["Content-Type"] = self.media_type
        if self.compressed:
            lines["Content-Encoding"] = "gzip"
        match self.framing:
            case "length":
                lines["Content-Length"] = str(length)
            case "chunked":
                lines["Transfer-Encoding"] = "chunked"
            case "close":
                lines["Connection"] = "close"
        replaced = {name.lower() for name, _ in self.headers}
        kept = [(name, value) for name, value in lines.items() if name.lower() not in replaced]
        head = [f"HTTP/1.1 {status} {responses.get(status, 'Odd')}"]
        head += [f"{name}: {value}" for name, value in (*kept, *self.headers)]
        return "\r\n".join([*head, "", ""]).encode("latin-1")
