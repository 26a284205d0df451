"""The catalogue of what a server can do to its client: replies, good and spoilt, by name.

A `payload` is the whole good body, JSON or a file, that the fault spoils; it is cut in its middle.
FAULTS lists every fault with the facts that a truth table builds on.
"""

import json
import zlib
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus

from fault_server import AwaitByte, Close, Drip, Flood, Reply, Reset, Send, Stall

MEBIBYTE = 1 << 20
# Before a reset, the time in which the client reads what was sent: a reset may destroy the rest.
_READ_FIRST = Stall(0.01)
_HTML = b"<!DOCTYPE html><html><body><h1>%d</h1><p>Please come back later.</p></body></html>"

# What a careless, broken or hostile server writes into Retry-After.
ODD_RETRY_AFTERS: tuple[str, ...] = (
    *("", "0", "-1", "1.5", "1e3", "0x10", "1_000", "+1", "٣", "1, 2", "1;2", "120 seconds"),
    *("nan", "inf", "-inf", "1e400", "9" * 20, "9" * 5000, "soon", "null"),
    "Wed, 21 Oct 2015 07:28:00 GMT",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "Wed, 32 Oct 2015 07:28:00 GMT",
    "Wed, 21 Oct 2015 07:28:00",
    "2015-10-21T07:28:00Z",
    "Fri, 31 Dec 99999 23:59:59 GMT",
)


# --- whole replies ---------------------------------------------------------------------------


def head(status: int, *lines: str) -> bytes:
    """A status line with these header lines and the empty line after them."""
    first = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"
    return "\r\n".join((first, *lines, "", "")).encode()


def media_type(payload: bytes) -> str:
    """The header line that fits the payload: JSON, or a file of numbers."""
    return f"Content-Type: {'application/json' if payload[:1] in (b'{', b'[') else 'text/csv'}"


def good_head(payload: bytes, *lines: str, length: int | None = None) -> bytes:
    """The head of a good reply; `length` lies about the size of its body."""
    size = len(payload) if length is None else length
    return head(200, media_type(payload), f"Content-Length: {size}", *lines)


def good(payload: bytes) -> Reply:
    """A whole good reply; the connection stays open."""
    return Reply((Send(good_head(payload) + payload),))


def json_reply(value: object, status: int = 200, *lines: str) -> Reply:
    """A whole reply of any JSON value under any status, with further header lines."""
    body = json.dumps(value).encode()
    length = f"Content-Length: {len(body)}"
    return Reply((Send(head(status, "Content-Type: application/json", length, *lines) + body),))


def html(status: int) -> Reply:
    """A page of HTML, as a proxy in front of the API writes it."""
    body = _HTML % status
    lines = ("Content-Type: text/html; charset=utf-8", f"Content-Length: {len(body)}")
    return Reply((Send(head(status, *lines) + body),))


def empty(status: int) -> Reply:
    """A reply without a body: 204, or a status that ought to have one."""
    lines = () if status == HTTPStatus.NO_CONTENT else ("Content-Length: 0",)
    return Reply((Send(head(status, *lines)),))


def redirect(status: int, location: str) -> Reply:
    """A redirection; the target may be relative, or a URL of another server."""
    return Reply((Send(head(status, f"Location: {location}", "Content-Length: 0")),))


def redirect_to_itself(status: int) -> Reply:
    """A redirection to the same server and path, without end for whoever follows it."""
    return redirect(status, "?again=1")


def busy(
    status: int, retry_after: str | None = None, error: Mapping[str, object] | None = None
) -> Reply:
    """A 429 or 503 with any Retry-After or none, and with a JSON error body or none."""
    lines = () if retry_after is None else (f"Retry-After: {retry_after}",)
    if error is not None:
        return json_reply(error, status, *lines)
    return Reply((Send(head(status, *lines, "Content-Length: 0")),))


def vendor_error(code: int, message: str, status: int = 200) -> Reply:
    """The API's own way to say no, under any HTTP status."""
    return json_reply({"success": False, "code": code, "message": message}, status)


# --- before the request is read --------------------------------------------------------------


def close_at_accept() -> Reply:
    """Accept a connection and close it at once."""
    return Reply((Close(),), before=True)


def reset_at_accept() -> Reply:
    """Accept a connection and reset it at once."""
    return Reply((Reset(),), before=True)


def never_read() -> Reply:
    """Accept a connection and never read from it."""
    return Reply((Stall(),), before=True)


# --- broken off ------------------------------------------------------------------------------


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _half_reply(payload: bytes) -> bytes:
    return good_head(payload) + _half(payload)


def close_before_head() -> Reply:
    """Read the request and close without a byte in answer."""
    return Reply((Close(),))


def close_within_head(payload: bytes) -> Reply:
    """Send half of the head and close."""
    return Reply((Send(_half(good_head(payload))), Close()))


def close_within_body(payload: bytes) -> Reply:
    """Send the head and half of the body and close."""
    return Reply((Send(_half_reply(payload)), Close()))


def reset_before_head() -> Reply:
    """Read the request and reset the connection."""
    return Reply((Reset(),))


def reset_within_head(payload: bytes) -> Reply:
    """Send half of the head and reset the connection."""
    return Reply((Send(_half(good_head(payload))), _READ_FIRST, Reset()))


def reset_within_body(payload: bytes) -> Reply:
    """Send the head and half of the body and reset the connection."""
    return Reply((Send(_half_reply(payload)), _READ_FIRST, Reset()))


# --- slow ------------------------------------------------------------------------------------


def _stall(whole: bytes, sent: int, seconds: float | None) -> Reply:
    start = (Send(whole[:sent]),) if sent else ()
    if seconds is None:
        return Reply((*start, Stall()))
    return Reply((*start, Stall(seconds), Send(whole[sent:])))


def stall_before_head(payload: bytes, seconds: float | None = None) -> Reply:
    """Read the request and fall silent, for ever or for `seconds` before a good reply."""
    return _stall(good_head(payload) + payload, 0, seconds)


def stall_within_head(payload: bytes, seconds: float | None = None) -> Reply:
    """Fall silent after half of the head, for ever or for `seconds`."""
    start = good_head(payload)
    return _stall(start + payload, len(start) // 2, seconds)


def stall_within_body(payload: bytes, seconds: float | None = None) -> Reply:
    """Fall silent after half of the body, for ever or for `seconds`."""
    return _stall(good_head(payload) + payload, len(_half_reply(payload)), seconds)


def drip_head(payload: bytes, pause: float = 0.001) -> Reply:
    """Send the head a byte at a time, and then the body at once."""
    return Reply((Drip(good_head(payload), pause), Send(payload)))


def drip_body(payload: bytes, pause: float = 0.001, size: int = 1) -> Reply:
    """Send the body a byte (or `size` bytes) at a time."""
    return Reply((Send(good_head(payload)), Drip(payload, pause, size)))


# --- wrong framing ---------------------------------------------------------------------------


def length_too_long(payload: bytes) -> Reply:
    """Announce ten bytes more than the body has, and close after it."""
    return length_too_long_open(payload).then(Close())


def length_too_long_open(payload: bytes) -> Reply:
    """Announce ten bytes more than the body has, and keep the connection open after it."""
    return Reply((Send(good_head(payload, length=len(payload) + 10) + payload),))


def length_too_short(payload: bytes) -> Reply:
    """Announce half of the body, and send all of it."""
    return Reply((Send(good_head(payload, length=len(payload) // 2) + payload),))


def length_too_short_apart(payload: bytes) -> Reply:
    """Announce half of the body, send that half, and the surplus a moment later."""
    start = good_head(payload, length=len(payload) // 2) + _half(payload)
    return Reply((Send(start), _READ_FIRST, Send(payload[len(payload) // 2 :])))


def _chunked_head(payload: bytes) -> bytes:
    return head(200, media_type(payload), "Transfer-Encoding: chunked")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def chunked(payload: bytes) -> Reply:
    """A whole good reply in two chunks."""
    first = _half(payload)
    rest = payload[len(first) :]
    return Reply((Send(_chunked_head(payload) + _chunk(first) + _chunk(rest) + b"0\r\n\r\n"),))


def both_framings(payload: bytes) -> Reply:
    """Chunks, and a Content-Length beside them."""
    start = good_head(payload, "Transfer-Encoding: chunked")
    return Reply((Send(start + _chunk(payload) + b"0\r\n\r\n"),))


def until_close(payload: bytes) -> Reply:
    """Neither length nor chunks: the whole body ends where the connection ends."""
    return Reply((Send(head(200, media_type(payload)) + payload), Close()))


def until_close_cut(payload: bytes) -> Reply:
    """Neither length nor chunks, and only half of the body: nothing shows that it is cut."""
    return Reply((Send(head(200, media_type(payload)) + _half(payload)), Close()))


def until_close_reset(payload: bytes) -> Reply:
    """Neither length nor chunks, half of the body, and a reset."""
    return Reply((Send(head(200, media_type(payload)) + _half(payload)), _READ_FIRST, Reset()))


def broken_chunks(payload: bytes) -> Reply:
    """A good chunk, and at once one whose size is no number."""
    start = _chunked_head(payload) + _chunk(_half(payload))
    return Reply((Send(start + b"zz\r\n" + payload), Close()))


def broken_chunks_apart(payload: bytes) -> Reply:
    """A good chunk, and a moment later one whose size is no number; some clients wait for ever."""
    start = _chunked_head(payload) + _chunk(_half(payload))
    return Reply((Send(start), _READ_FIRST, Send(b"zz\r\n" + payload), Close()))


def chunks_without_end(payload: bytes) -> Reply:
    """The whole body as a chunk, and a close in place of the last, empty chunk."""
    return Reply((Send(_chunked_head(payload) + _chunk(payload)), Close()))


def continue_first(payload: bytes) -> Reply:
    """An interim `100 Continue`, and then a whole good reply."""
    return Reply((Send(head(100)), Send(good_head(payload) + payload)))


def continue_then_close() -> Reply:
    """An interim `100 Continue`, and then a close."""
    return Reply((Send(head(100)), Close()))


def continue_then_stall() -> Reply:
    """An interim `100 Continue`, and then silence."""
    return Reply((Send(head(100)), Stall()))


def garbage_status_line(payload: bytes) -> Reply:
    """A first line that is no HTTP, and a good reply after it."""
    return Reply((Send(b"\x16\x03\x01 what is this\r\n" + good_head(payload) + payload), Close()))


def huge_header(payload: bytes, size: int = 70_000) -> Reply:
    """A header of 70 kB in an otherwise good reply."""
    return Reply((Send(good_head(payload, f"X-Padding: {'x' * size}") + payload),))


# --- too much --------------------------------------------------------------------------------


@cache
def _zeros_compressed(mebibytes: int) -> bytes:
    """A gzip file of zeros: the same compressed block over and over, so that it is made fast."""
    zeros = bytes(MEBIBYTE)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)
    end = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS).flush()
    checksum = 0
    for _ in range(mebibytes):
        checksum = zlib.crc32(zeros, checksum)
    size = mebibytes * MEBIBYTE
    start = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
    tail = checksum.to_bytes(4, "little") + size.to_bytes(4, "little")
    return start + block * mebibytes + end + tail


def gzip_bomb(mebibytes: int = 300) -> Reply:
    """About 1 kB on the wire for each MiB of zeros that it unpacks to."""
    body = _zeros_compressed(mebibytes)
    lines = ("Content-Encoding: gzip", f"Content-Length: {len(body)}")
    return Reply((Send(head(200, "Content-Type: application/json", *lines) + body),))


def gzip_cut(payload: bytes) -> Reply:
    """Compressed and cut in the middle, with the Content-Length of what is left."""
    packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    body = _half(packer.compress(payload) + packer.flush())
    return Reply((Send(good_head(payload, "Content-Encoding: gzip", length=len(body)) + body),))


def endless_body(limit: int = 200_000_000) -> Reply:
    """White space without end, in chunks; broken off after `limit` bytes, lest a test run away."""
    portion = b" " * 65536
    start = head(200, "Content-Type: application/json", "Transfer-Encoding: chunked")
    return Reply((Send(start), Flood(_chunk(portion), limit // len(portion)), Close()))


# --- connections closed behind the client's back ---------------------------------------------


def closed_when_idle(payload: bytes, seconds: float = 0.05) -> Reply:
    """A good reply; the connection is closed when no next request begins within `seconds`."""
    return good(payload).then(AwaitByte(seconds))


def closed_at_next_byte(payload: bytes) -> Reply:
    """A good reply; the connection is closed in answer to the first byte of the next request."""
    return good(payload).then(AwaitByte(), Close())
