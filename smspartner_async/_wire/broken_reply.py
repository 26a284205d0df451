"""Read a reply that is not valid HTTP, or was cut, as far as possible. Pure."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from multidict import CIMultiDict

from .reply import Reply, announced_length, is_chunked

_STATUS_LINE: Final = re.compile(rb"HTTP/[0-9.]*[ \t]*(?P<status>[0-9]{3})?")
_HEAD_BEGINS: Final = b"HTTP/"
_END_OF_HEAD: Final = re.compile(rb"\r?\n\r?\n")
# The line that is no header, in a head without an end; the last line may only be cut.
_NO_HEADER: Final = re.compile(
    rb"\n(?=[^\r\n])(?![ \t]|[!#$%&'*+.^_`|~0-9A-Za-z-]++(?:[ \t]*:|\r?\Z))"
)
LONGEST_HEAD: Final = 2**20
_MOST_HEADS: Final = 100  # interim ones; reading a flood of them would block the event loop
_CHUNK_SIZE: Final = re.compile(rb"[ \t]*(?P<size>[0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]{0,200})?\r?\n")
_TRAILERS: Final = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]++[ \t]*:[^\r\n]*+\r?\n)*+\r?\n")
_LAST_CHUNK: Final = b"0\r\n\r\n"
INTERIM: Final = range(100, 200)
NO_STATUS: Final = 0
_MOST_HEADERS: Final = 2_000


class BrokenHead(NamedTuple):
    """A head, as far as it can be read, and where its body begins."""

    status: int
    headers: CIMultiDict[str]
    end: int
    """Bytes before the body."""
    is_whole: bool
    """Whether it is a final head, and has come to its end."""

    def has_ended(self, raw: bytearray) -> bool:
        """Return whether `raw` is the whole reply, by its framing."""
        if is_chunked(self.headers):
            begin = max(self.end, len(raw) - len(_LAST_CHUNK) - 2)
            return raw[begin:] in (_LAST_CHUNK, b"\r\n" + _LAST_CHUNK)
        # More bytes than that prove the length wrong: then the connection's end ends the reply.
        return len(raw) - self.end == announced_length(self.headers)


def read_broken_reply(raw: bytes) -> Reply:
    """Return what came of a reply as a status, headers and a body, whatever is wrong with it.

    Nothing is refused and nothing is lost: what is no head stays in the body. The status is 0 where
    none can be read. Interim replies (1xx) are skipped.
    """
    head = read_broken_head(raw)
    body = raw[head.end :]
    if _HEAD_BEGINS.startswith(body):
        body = b""  # of a status line that was cut
    if is_chunked(head.headers):
        body, trailers = _without_chunks(body)
        head.headers.extend(trailers)
    return Reply(head.status, head.headers, body)


def read_broken_head(raw: bytes | bytearray) -> BrokenHead:
    """Return the head of a reply, as far as it has come and can be read."""
    head = BrokenHead(NO_STATUS, CIMultiDict[str](), 0, is_whole=False)
    for _ in range(_MOST_HEADS):
        if (line := _STATUS_LINE.match(raw, head.end)) is None:
            break
        status = int(line["status"] or NO_STATUS)
        end = _END_OF_HEAD.search(raw, head.end, head.end + LONGEST_HEAD)
        has_end = end is not None
        end = end or _NO_HEADER.search(raw, head.end, head.end + LONGEST_HEAD)
        lines = raw[head.end : len(raw) if end is None else end.start()]
        is_final = status not in INTERIM
        begin = len(raw) if end is None else end.end()
        head = BrokenHead(status, _headers(lines), begin, is_whole=is_final and has_end)
        if is_final:
            break
    return head


def _headers(head: bytes | bytearray) -> CIMultiDict[str]:
    lines = head.decode("utf-8", "replace").splitlines()[1 : _MOST_HEADERS + 1]
    pairs = (line.partition(":") for line in lines)
    return CIMultiDict((name.strip(), value.strip()) for name, colon, value in pairs if colon)


def _without_chunks(body: bytes) -> tuple[bytes, CIMultiDict[str]]:
    """Join chunks, up to the first that cannot be one; return also the headers behind the last.

    What follows is left as it is.
    """
    parts: list[bytes] = []
    trailers = CIMultiDict[str]()
    at = 0
    while (size := _CHUNK_SIZE.match(body, at)) is not None:
        begin, length = size.end(), int(size["size"], 16)
        if not length:
            if (lines := _TRAILERS.match(body, begin)) is not None:
                trailers, begin = _headers(b"\n" + lines[0]), lines.end()
            at = begin
            break
        parts.append(body[begin : begin + length])
        at = begin + length
        at += 2 if body.startswith(b"\r\n", at) else body.startswith(b"\n", at)
    return b"".join((*parts, body[at:])), trailers
