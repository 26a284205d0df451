"""The envelope that all replies share: an answer, the vendor's error, or neither. Pure.

Which HTTP status an error comes with is undocumented by the vendor, so the body decides, save for
429. What is neither an answer nor an error of the vendor's is a `ResponseError`.
"""

from __future__ import annotations

import re
from typing import Any, Final

from ._codes import (
    ALL_WENT_WELL,
    ALREADY_DOWNLOADED_CODE,
    CODE_MEANINGS,
    FAILED_CODE,
    TOO_MANY_REQUESTS,
)
from ._errors import (
    CODE_CLASSES,
    AlreadyDownloadedError,
    APIError,
    RateLimitError,
    RentalFailedError,
    ResponseError,
    SMSPartnerError,
)
from ._reply import (
    Operation,
    Reply,
    as_integer,
    clean,
    excerpt,
    if_readable,
    parse_json,
    plain_body,
    retry_after,
)

# The API speaks XML when asked to. We never ask, and still read an error that arrives so. By
# pattern, not by parser: entities are not expanded where nothing knows of them. From the very
# beginning: a text inside of a JSON answer may hold anything.
_XML_ERROR: Final = (
    r"\s*(?:<\?xml[^>]*>\s*)?"
    r"<result>\s*<entry>\s*false\s*</entry>\s*<entry>\s*(?P<code>\d{1,9})\s*</entry>"
    r"(?:\s*<entry>\s*(?:<!\[CDATA\[)?(?P<message>[^<\]]*))?"
)
_MARKUP: Final = rb"(\xef\xbb\xbf)?\s*<"
_LONGEST_CODE: Final = 4  # digits; the vendor's have three at most


def open_reply(operation: Operation, reply: Reply, *, secret: str, token: str) -> dict[str, Any]:
    """Take the answer out of a reply, or raise the error that it holds.

    Raises:
        APIError: the vendor said no; the class is that of its code.
        RentalFailedError: code 36, about the rental `token`.
        AlreadyDownloadedError: code 34, about the rental `token`.
        ResponseError: neither an answer nor an error of the vendor's.
    """
    problem = "it is JSON, but no answer to this request"
    answer: dict[str, Any] = {}
    try:
        body = plain_body(reply)
        answer = _xml_error(body) or mapping(parse_json(body))
    except ValueError as error:
        problem = str(error)
    refused = _says_no(reply, answer)
    if operation == "rent" and not refused:
        if find_token(answer) is not None:
            return answer  # a rental that is paid, whatever HTTP status it came with
        if "success" in answer:
            problem = "it tells of success, and holds no rental token"
            raise foreign_reply(operation, reply, problem, secret=secret)
    if reply.status == TOO_MANY_REQUESTS or refused:
        raise _error(operation, reply, answer, secret=secret, token=token)
    if not answer or not is_success(reply):
        raise foreign_reply(operation, reply, problem, secret=secret)
    return answer


def foreign_reply(
    operation: Operation, reply: Reply, problem: str, *, secret: str
) -> ResponseError:
    """Make the error for a reply that is not the vendor's, or not one to this request."""
    # What came instead of a contact file may be the contact file: none of it is shown.
    shown = b"" if operation == "download" else reply.body
    return ResponseError(
        problem if reply.body else "it is empty",
        operation=operation,
        http_status=reply.status,
        excerpt=excerpt(shown, secret),
        retry_after=retry_after(reply.headers),
    )


def is_success(reply: Reply) -> bool:
    """Whether HTTP calls it a success."""
    return 200 <= reply.status < 300  # noqa: PLR2004 - HTTP's own classes


def holds_a_page(reply: Reply) -> bool:
    """Whether it is empty or markup: no file of contacts, whatever their format."""
    try:
        body = plain_body(reply)
    except ValueError:
        return False  # compressed, and longer than any page
    return not body or re.match(_MARKUP, body) is not None


def mapping(value: object) -> dict[str, Any]:
    """Take a mapping as it is, and anything else as an empty one (PHP writes `[]` for it)."""
    return value if isinstance(value, dict) else {}


def find_token(payload: dict[str, Any]) -> str | None:
    """Look for the rental's token, wherever the undocumented reply to rent puts it.

    The shallowest one counts. What is no plain printable text is none: it could not be sent back.
    """
    level: list[Any] = [payload]
    while level:
        for outer in level:
            for name, value in mapping(outer).items():
                sendable = isinstance(value, str | int) and not isinstance(value, bool)
                text = str(value).strip() if sendable else ""
                if name.strip().lower() == "token" and text and text.isprintable():
                    return text
        level = [
            value
            for outer in level
            for value in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(value, dict | list)
        ]
    return None


def _says_no(reply: Reply, answer: dict[str, Any]) -> bool:
    """Tell an error by `success`, or, where that says neither yes nor no, by its code."""
    success = answer.get("success")
    if success is True:
        return False  # nearly always
    word = str(success).strip().lower() if isinstance(success, str | int) else ""
    if word in ("true", "1", "false", "0"):
        return word in ("false", "0")
    code = _code(answer)
    return code in CODE_MEANINGS or not (is_success(reply) or code in (None, ALL_WENT_WELL))


def _code(answer: dict[str, Any]) -> int | None:
    """Read the code; a long number is none, and may be somebody's telephone."""
    code = if_readable(as_integer, answer.get("code"))
    return None if code is None or len(str(code)) > _LONGEST_CODE else code


def _xml_error(body: bytes) -> dict[str, Any] | None:
    if b"<result" not in body:
        return None
    found = re.match(_XML_ERROR, body.decode("utf-8-sig", "replace"))
    return None if found is None else {"success": "false", **found.groupdict(default="")}


def _error(
    operation: Operation, reply: Reply, answer: dict[str, Any], *, secret: str, token: str
) -> SMSPartnerError:
    code = _code(answer)
    message = answer.get("message")
    limited = reply.status == TOO_MANY_REQUESTS
    if token and code == FAILED_CODE and not limited:
        return RentalFailedError(token=token, code=code)
    if token and code == ALREADY_DOWNLOADED_CODE and not limited:
        return AlreadyDownloadedError(token=token, code=code)
    known = APIError if code is None else CODE_CLASSES.get(code, APIError)
    return (RateLimitError if limited else known)(
        code=code,
        message=clean(message, secret) if isinstance(message, str) else "",
        http_status=reply.status,
        operation=operation,
        retry_after=retry_after(reply.headers),
    )
