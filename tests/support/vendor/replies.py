"""Replies for the tests of the pure rooms: the manual's samples, and made-up ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, get_args

from multidict import CIMultiDict
from paths import TESTS

from smspartner_async import (
    AccessDeniedError,
    APIError,
    AuthenticationError,
    FileNotReadyError,
    InsufficientCreditError,
    InvalidRequestError,
    RentalNotFoundError,
    SMSPartnerError,
)
from smspartner_async._wire.codec import Wire
from smspartner_async._wire.rent_verdict import NoRental
from smspartner_async._wire.reply import Operation, Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

# Every character of it that URLs, JSON or HTML escape is one more spelling to leak in.
KEY: Final = "0d5D/c+4f%a&b\"\\é'<9=~zZ"
TOKEN: Final = "b22b841a21624f4f452ba7fa8c822c0ed7cecfdb"
WIRE: Final = Wire(KEY)
OPERATIONS: Final[tuple[Operation, ...]] = get_args(Operation)

# The design's table of the vendor's codes, written out by hand.
CLASS_OF_CODE: Final[dict[int, type[APIError]]] = {
    **dict.fromkeys((1, 10), AuthenticationError),
    **dict.fromkeys(
        (3, 4, 5, 7, 8, 9, *range(12, 29), 31, 61, 90),
        InvalidRequestError,
    ),
    **dict.fromkeys((6, 20, 30, 40, 96), AccessDeniedError),
    11: InsufficientCreditError,
    **dict.fromkeys((32, 33), RentalNotFoundError),
    35: FileNotReadyError,
}


def sample(name: str) -> bytes:
    """One of the samples of the vendor's manual, byte for byte."""
    return (TESTS / "samples" / name).read_bytes()


def reply(payload: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """A reply of these bytes, or of this value as JSON."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return Reply(status, CIMultiDict(headers or {}), body)


def decode(operation: Operation, answer: Reply) -> Any:
    """Decode a reply to any operation: a model, or an error raised. A file is no model."""
    match operation:
        case "calculate" | "price":
            return WIRE.quote(operation, answer)
        case "rent":
            read = WIRE.rent_reply(answer)
            if isinstance(read, NoRental):
                raise read.error
            return read
        case "status":
            return WIRE.status(TOKEN, answer)
        case "credits":
            return WIRE.credits(answer)
        case "download":
            verdict = WIRE.judge_file(TOKEN, answer)
            if verdict.error is not None:
                raise verdict.error
            return None


def refusal(operation: Operation, answer: Reply) -> SMSPartnerError:
    """The error that decoding a reply raises; that it raises none is a failure."""
    try:
        model = decode(operation, answer)
    except SMSPartnerError as error:
        return error
    raise AssertionError(f"{operation} was answered: {model!r}")
