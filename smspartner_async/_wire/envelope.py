"""The envelope of all replies: an answer, an error of the vendor's, or neither. Pure.

The vendor does not document the HTTP status of an error, so the body decides, except for 429. A
reply that is neither an answer nor an error of the vendor's is a `ResponseError`.
"""

from __future__ import annotations

import re
from typing import Any, Final

from smspartner_async._error_codes import (
    ALL_WENT_WELL,
    ALREADY_DOWNLOADED_CODE,
    CODE_MEANINGS,
    FAILED_CODE,
    TOO_MANY_REQUESTS,
)
from smspartner_async._errors import (
    AccessDeniedError,
    AlreadyDownloadedError,
    APIError,
    AuthenticationError,
    FileNotReadyError,
    InsufficientCreditError,
    InvalidRequestError,
    RateLimitError,
    RentalFailedError,
    RentalNotFoundError,
    ResponseError,
    SMSPartnerError,
)
from smspartner_async._redaction import excerpt, redacted_line

from .reply import (
    Operation,
    Reply,
    as_integer,
    if_readable,
    parse_json,
    plain_body,
    retry_after,
)

_CLASSES: Final[dict[type[APIError], tuple[int, ...]]] = {
    AuthenticationError: (1, 10),
    AccessDeniedError: (6, 20, 30, 40, 96),
    InsufficientCreditError: (11,),
    RentalNotFoundError: (32, 33),
    FileNotReadyError: (35,),
    InvalidRequestError: (3, 4, 5, 7, 8, 9, *range(12, 20), *range(21, 29), 31, 61, 90),
}

CODE_CLASSES: Final[dict[int, type[APIError]]] = {
    code: cls for cls, codes in _CLASSES.items() for code in codes
}

# The API sends XML on request. None is requested here, but an error in XML is read all the same. By
# a pattern and not a parser, which would expand entities; from the first byte on, since a text
# inside of a JSON answer may hold anything.
_XML_ERROR: Final = (
    r"\s*(?:<\?xml[^>]*>\s*)?"
    r"<result>\s*<entry>\s*false\s*</entry>\s*<entry>\s*(?P<code>\d{1,9})\s*</entry>"
    r"(?:\s*<entry>\s*(?:<!\[CDATA\[)?(?P<message>[^<\]]*))?"
)
_LONGEST_TOKEN: Final = 200
_NO_VALUES: Final = ("null", "none", "true", "false")
_LONGEST_CODE: Final = 4  # digits; the vendor's have three at most


def open_reply(operation: Operation, reply: Reply, *, secret: str, token: str) -> dict[str, Any]:
    """Return the answer of a reply, or raise the error that it holds.

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
        answer = xml_error(body) or mapping(parse_json(body))
    except ValueError as error:
        problem = str(error)
    refused = _says_no(reply, answer)
    if reply.status == TOO_MANY_REQUESTS or refused:
        raise _error(operation, reply, answer, secret=secret, token=token)
    if not answer or not is_success(reply):
        raise foreign_reply(operation, reply, problem, secret=secret)
    return answer


def foreign_reply(
    operation: Operation, reply: Reply, problem: str, *, secret: str
) -> ResponseError:
    """Make the error for a reply that is not the vendor's, or not one to this request."""
    # A reply to a download may be the contact file: none of it is shown.
    shown = b"" if operation == "download" else reply.body
    return ResponseError(
        problem if reply.body else "it is empty",
        operation=operation,
        http_status=reply.status,
        excerpt=excerpt(shown, secret),
        retry_after=retry_after(reply.headers),
    )


def is_success(reply: Reply) -> bool:
    """Return whether the HTTP status is 2xx."""
    return 200 <= reply.status < 300  # noqa: PLR2004 - HTTP's own classes


def mapping(value: object) -> dict[str, Any]:
    """Return a dict as it is, and an empty one for anything else (PHP writes `[]` for it)."""
    return value if isinstance(value, dict) else {}


def find_token(payload: dict[str, Any], secret: str) -> str | None:
    """Return the rental's token, wherever the undocumented reply to rent puts it.

    Of several, the least nested counts.
    """
    level: list[Any] = [payload]
    while level:
        for outer in level:
            for name, value in mapping(outer).items():
                if name.strip().lower() == "token" and (token := sendable(value, secret)):
                    return token
        level = [
            value
            for outer in level
            for value in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(value, dict | list)
        ]
    return None


def sendable(value: object, secret: str) -> str | None:
    """Return a value as a token that can be sent back, or `None`.

    A token has 1 to 200 printable characters and no blanks; it is not the API key, nor a word for
    no value such as `null`.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value).strip()
    fits = 0 < len(text) <= _LONGEST_TOKEN and text.isprintable() and " " not in text
    return text if fits and text.lower() not in (*_NO_VALUES, secret.lower()) else None


def read_success(answer: dict[str, Any]) -> bool | None:
    """Read the `success` of an answer; `None` where it says neither yes nor no."""
    success = answer.get("success")
    if success is True:
        return True  # nearly always
    word = str(success).strip().lower() if isinstance(success, str | int) else ""
    return {"true": True, "1": True, "false": False, "0": False}.get(word)


def _says_no(reply: Reply, answer: dict[str, Any]) -> bool:
    """Return whether an answer is an error: by `success`, or, if that is unclear, by its code."""
    success = read_success(answer)
    if success is not None:
        return not success
    code = read_code(answer)
    return code in CODE_MEANINGS or not (is_success(reply) or code in (None, ALL_WENT_WELL))


def read_code(answer: dict[str, Any]) -> int | None:
    """Read the code; a long number is none, and may be a phone number."""
    code = if_readable(as_integer, answer.get("code"))
    return None if code is None or len(str(code)) > _LONGEST_CODE else code


def xml_error(body: bytes) -> dict[str, Any] | None:
    """Read the vendor's error in XML as the dict that it is in JSON; `None` for any other body."""
    if body.startswith(b"{") or b"<result" not in body:  # JSON, nearly always
        return None
    found = re.match(_XML_ERROR, body.decode("utf-8-sig", "replace"))
    return None if found is None else {"success": "false", **found.groupdict(default="")}


def _error(
    operation: Operation, reply: Reply, answer: dict[str, Any], *, secret: str, token: str
) -> SMSPartnerError:
    code = read_code(answer)
    message = answer.get("message")
    limited = reply.status == TOO_MANY_REQUESTS
    if token and code == FAILED_CODE and not limited:
        return RentalFailedError(token=token, code=code)
    if token and code == ALREADY_DOWNLOADED_CODE and not limited:
        return AlreadyDownloadedError(token=token, code=code)
    known = APIError if code is None else CODE_CLASSES.get(code, APIError)
    return (RateLimitError if limited else known)(
        code=code,
        message=redacted_line(message, secret) if isinstance(message, str) else "",
        http_status=reply.status,
        operation=operation,
        retry_after=retry_after(reply.headers),
    )
