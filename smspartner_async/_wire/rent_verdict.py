"""Judge what a reply to a rent proves: a rental, that nothing was rented, or neither. Pure.

The reply to `rent` is undocumented by the vendor, and money depends on it: so each kind of reply
has its row in the table of `judge_rent`, and any other is an unknown outcome.
"""

from __future__ import annotations

import json
import re
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from smspartner_async._error_codes import ALL_WENT_WELL, TOO_MANY_REQUESTS
from smspartner_async._redaction import redact

from .envelope import find_token, is_success, mapping, read_code, read_success, sendable, xml_error
from .reply import JSON, Reply, decompressed_beginning, parse_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smspartner_async._errors import SMSPartnerError

# After these nothing was rented: the vendor's page of error codes. The others are about a rental or
# a file, or are not documented.
_PROVE_NOTHING_RENTED: Final = frozenset({1, *range(3, 21), *range(22, 29), 30, 31, 40, 61, 90, 96})
_LONG_ENOUGH: Final = 6  # characters of a token in a reply without `success`
_MOST_OBJECTS: Final = 50  # searched for between other bytes
_MOST_READ: Final = 2**21  # characters parsed in that search: it blocks the event loop
# The value of `token` in JSON, XML, a query or a script; never one that may have been cut.
_TOKEN_SEEN: Final = re.compile(
    r"""
    <token>\s*+(?P<xml>[^<]{1,200}+)<\\{0,3}/token>
    | \btoken\\{0,3}["']?\s*[:=]\s*(?:
        \\{0,3}(?P<quote>["'])(?P<quoted>[^"'\\]{1,200})\\{0,3}(?P=quote)
        | (?P<bare>[A-Za-z0-9_-]{1,200})(?=\.?[\s,;&<})"'\\])
    )
    """,
    re.IGNORECASE | re.VERBOSE,
)
_MOST_SEEN: Final = 50
# Wherever it stands, twice or cut: an answer that contradicts itself is no plain no.
_SUCCESS_SEEN: Final = re.compile(
    r"""\bsuccess\\{0,3}["']?\s*[:=>]\s*\\{0,3}["']?\s*(?P<value>[^\s"'\\,;&<}]{0,9})""",
    re.IGNORECASE,
)
_PAGE: Final = re.compile(rb"\s*(?:<!doctype\s+html|<html)", re.IGNORECASE)


class Outcome(Enum):
    """What is certain after a reply to a rent."""

    RENTED = "rented"
    REFUSED = "nothing was rented"
    LIMITED = "nothing was rented, and it may be sent again"
    UNKNOWN = "it may have been charged"


@frozen
class RentVerdict:
    """What a reply to a rent proves.

    Attributes:
        outcome: what is certain.
        token: of the rental; where the outcome is unknown, something that looks like a token.
        answer: what the reply says, as far as it can be read.
    """

    outcome: Outcome
    token: str | None
    answer: dict[str, Any]


@frozen(kw_only=True, eq=False)
class NoRental:
    """A reply to a rent that is no rental.

    Attributes:
        outcome: what is certain.
        error: the error that says so.
        seen_token: something that looks like a token, where the outcome is unknown.
    """

    outcome: Outcome
    error: SMSPartnerError
    seen_token: str | None


def judge_rent(reply: Reply, *, whole: bool, secret: str) -> RentVerdict:
    """Return what a reply to a rent proves. `whole` is whether HTTP says that all of it came.

    | reply | outcome |
    |---|---|
    | says success, holds a token; whole, or the JSON of it is whole | rented |
    | whole, 2xx, says nothing of success or of another code than 200, holds a token of six
      characters or more at its top or directly in its data | rented |
    | whole 429 that neither says success nor holds a token | may be sent again |
    | whole, nothing but the vendor's no, without a token, with a code that proves it | refused |
    | anything else | unknown |
    """
    body, inflated = decompressed_beginning(reply)
    whole = whole and inflated
    answer, alone = _answer(body)
    found = [answer] if alone else [*_objects(body)]
    for said in found:
        if read_success(said) is True and (token := find_token(said, secret)):
            return RentVerdict(Outcome.RENTED, token, said)
    seen = next(filter(None, (find_token(said, secret) for said in found)), None)
    in_text = _token_in_text(body + b"\n" if whole else body, secret)
    success, code = read_success(answer), read_code(answer)
    successes = _successes_in_text(body)
    if whole and alone and is_success(reply) and not successes:
        token = _shallow_token(answer, secret)
        if token is not None and answer.get("code") in (None, ALL_WENT_WELL, str(ALL_WENT_WELL)):
            return RentVerdict(Outcome.RENTED, token, answer)
    nothing_seen = seen is None and in_text is None and successes <= {"false", "0"}
    if whole and nothing_seen and (alone or not _may_be_cut(reply, body)):
        if reply.status == TOO_MANY_REQUESTS:
            return RentVerdict(Outcome.LIMITED, None, answer)
        if alone and success is False and code in _PROVE_NOTHING_RENTED:
            return RentVerdict(Outcome.REFUSED, None, answer)
    # A text in an answer may hold another answer, and a redirect the URL of a status.
    seen = seen or in_text or _token_in_text(_head_of(reply), secret)
    return RentVerdict(Outcome.UNKNOWN, seen, answer)


def _answer(body: bytes) -> tuple[dict[str, Any], bool]:
    """Read an answer that is the whole body; return it, and whether the body is one."""
    if (error := xml_error(body)) is not None:
        return error, body.rstrip().endswith(b"</result>")
    try:
        value = parse_json(body)
    except ValueError:
        return {}, False
    return mapping(value), isinstance(value, dict)


def _objects(body: bytes) -> Iterator[dict[str, Any]]:
    """Yield the whole JSON objects among other bytes: PHP's warnings, a list, a reply that was cut.

    None from an HTML page: a script in it is not the vendor's answer.
    """
    if _PAGE.match(body):
        return
    text = body.replace(b"\0", b"").decode("utf-8", "replace")
    at = read = 0
    for _ in range(_MOST_OBJECTS):
        if read > _MOST_READ or (at := text.find("{", at)) < 0:
            return
        try:
            value, end = JSON.raw_decode(text, at)
        except json.JSONDecodeError as error:
            read += error.pos - at
            at += 1
        except (RecursionError, ValueError):
            at += 1
        else:
            read += end - at
            at = end
            yield mapping(value)


def _shallow_token(answer: dict[str, Any], secret: str) -> str | None:
    places = (answer, answer.get("data"), answer.get("datas"))
    tokens = (
        sendable(value, secret)
        for place in places
        for name, value in mapping(place).items()
        if name.strip().lower() == "token"
    )
    return next((token for token in tokens if token and len(token) >= _LONG_ENOUGH), None)


def _token_in_text(body: bytes, secret: str) -> str | None:
    """Return a token that stands in bytes that are no JSON, or in JSON that was cut behind it."""
    text = body.replace(b"\0", b"").decode("utf-8", "replace")
    for match in islice(_TOKEN_SEEN.finditer(text), _MOST_SEEN):
        token = sendable(match["xml"] or match["quoted"] or match["bare"], secret)
        # Not the API key in some spelling, nor a part of it: errors show this token.
        if token and redact(secret, token) == token and token.lower() not in secret.lower():
            return token
    return None


def _successes_in_text(body: bytes) -> set[str]:
    """Return each value of `success` that stands in a body."""
    text = body.replace(b"\0", b"").decode("utf-8", "replace")
    return {match["value"].lower() for match in _SUCCESS_SEEN.finditer(text)}


def _head_of(reply: Reply) -> bytes:
    """Return the headers, one a line, without cookies: errors show a token found in them."""
    pairs = (f"{name}: {value}\n" for name, value in reply.headers.items())
    return "".join(p for p in pairs if not p.lower().startswith("set-cookie")).encode()


def _may_be_cut(reply: Reply, body: bytes) -> bool:
    """Return whether a body may be cut JSON, whatever its length says; empty, without a framing."""
    if body.count(b"{") > body.count(b"}"):
        return True
    framed = "Content-Length" in reply.headers or "Transfer-Encoding" in reply.headers
    text = body.lstrip(b"\xef\xbb\xbf \t\r\n")
    return not framed and (not text or text.startswith((b"{", b"[")))
