"""Judge whether the reply to a download is the contact file. Pure.

Format, name and media type of the file are undocumented by the vendor. It may be served only once,
so nothing that may be the file is thrown away, and nothing doubtful is called the file.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from attrs import frozen

from .envelope import is_success, mapping
from .reply import parse_json

if TYPE_CHECKING:
    from smspartner_async._errors import SMSPartnerError

    from .reply import Reply

LOOKED_AT: Final = 2**20
"""Bytes of a body, from its first one on, that decide what it is."""

ASKED_AGAIN: Final = frozenset({408, 429, 502, 503, 504})
"""HTTP statuses of servers in front of the vendor's, or too busy: asked again within the policy."""

_PARTIAL_CONTENT: Final = 206
_BOMS: Final = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
# Control characters that no text has.
_NO_TEXT: Final = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_PAGE: Final = re.compile(r"\s*<")
_ANSWERS: Final = {"success", "code", "message"}

# Stricter than what is kept out of messages: a date, an id or a time in a note is no number. With
# a plus, or as France writes them, anywhere; else digits that fill a field of a table or a list.
# Compiled when it is first used: few programs that import the client download in the same run.
_NUMBER: Final = r"""
    \+\d(?:[ .()/-]{0,2}\d){7,14}(?!\d)
    | (?<![\w.+-])(?:(?:00)?33[ .-]?)[1-9](?:[ .-]?\d\d){4}(?![\w-])
    | (?<![\w.+-])0[1-9](?:[ .-]?\d\d){4}(?![\w-])
    | (?:^|[,;|\t\[])[ ]*["']?\d{9,15}["']?[ ]*(?:$|[,;|\t\]\r])
    """


@frozen
class Verdict:
    """What a reply to a download is.

    Attributes:
        problem: why it is not the contact file; empty where it is.
        error: the vendor's error, where the reply is one.
        is_kept: whether it may hold numbers all the same, and so stays on the disk.
        is_empty_list: whether it is the file if the rental has no numbers.
    """

    problem: str = ""
    error: SMSPartnerError | None = None
    is_kept: bool = False
    is_empty_list: bool = False


def judge(reply: Reply, error: SMSPartnerError | None) -> Verdict:
    """Judge a reply by the beginning of its body, decompressed.

    Args:
        reply: with the first `LOOKED_AT` bytes of its body.
        error: the vendor's error, where the body reads as one.
    """
    text = _text(reply.body)
    answer = _answer(reply.body)
    has_numbers = _has_number((text or "") if answer is None else _without_message(answer))
    if error is not None and not has_numbers:
        return Verdict(problem="it is an error of the vendor's", error=error)
    if not reply.body.strip():
        return Verdict("it is empty")
    is_page = _PAGE.match(text or "") is not None
    may_be_it = text is None or has_numbers
    if not is_success(reply) or reply.status == _PARTIAL_CONTENT:
        is_part = reply.status == _PARTIAL_CONTENT
        is_note = is_page or answer is not None or reply.status in ASKED_AGAIN
        problem = "it is a part of a file" if is_part else "it is no file of numbers"
        verdict = Verdict(problem, error, is_kept=is_part or may_be_it or not is_note)
    elif is_page:
        verdict = Verdict("it is a page, and no file of numbers", is_kept=has_numbers)
    elif may_be_it:
        verdict = Verdict()
    elif answer is not None:
        verdict = Verdict("it is an answer without a number in it")
    else:
        problem = "it is a text without a number in it"
        verdict = Verdict(problem, is_kept=True, is_empty_list=True)
    return verdict


def _text(body: bytes) -> str | None:
    """Decode a text; return `None` for binary data."""
    for mark, encoding in _BOMS:
        if body.startswith(mark):
            return body.decode(encoding, "replace").removeprefix("\ufeff")
    return None if _NO_TEXT.search(body) else body.decode("utf-8", "replace")


def _answer(body: bytes) -> dict[str, object] | None:
    """Return the vendor's envelope, or `None` for any other body."""
    try:
        answer = mapping(parse_json(body))
    except ValueError:
        return None
    return answer if _ANSWERS & answer.keys() else None


def _without_message(answer: dict[str, object]) -> str:
    """Return the values of an envelope, one a line, without `message`, which may name a hotline."""
    lines: list[str] = []
    level: list[object] = [value for name, value in answer.items() if name != "message"]
    while level:
        value = level.pop()
        if isinstance(value, dict):
            level += value.values()
        elif isinstance(value, list):
            level += value
        else:
            lines.append(str(value))
    return "\n".join(lines)


def _has_number(text: str) -> bool:
    return re.search(_NUMBER, text, re.VERBOSE | re.MULTILINE) is not None
