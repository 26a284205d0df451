"""The exception tree: one root, nothing lost in a pickle, every message says what to do next."""

from __future__ import annotations

import ast
import copy
import pickle
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from replies import CLASS_OF_CODE

import smspartner_async
from smspartner_async import (
    AlreadyDownloadedError,
    APIError,
    AreaVolume,
    AuthenticationError,
    ConfigurationError,
    Cost,
    DownloadInterruptedError,
    PriceExceededError,
    Quote,
    RateLimitError,
    RentalFailedError,
    RentalNotFoundError,
    RentalState,
    RentalStatus,
    RentOutcomeUnknownError,
    ResponseError,
    SMSPartnerError,
    Targeting,
    TargetingError,
    TransportError,
    WaitTimeoutError,
)
from smspartner_async._error_codes import CODE_MEANINGS
from smspartner_async._wire.envelope import CODE_CLASSES

TARGETING = Targeting(gender="male", min_age=18, max_age=98, interest=12, zipcodes="02200")
STATUS = RentalStatus(token="t0k3n", state=RentalState.GENERATING, raw={"status": Decimal("1.0")})
QUOTE = Quote(
    operation="price",
    areas=(AreaVolume(type="zipcode", location="02200", volume=1),),
    cost=Cost(total=Decimal("2.50")),
    raw={"cost": {"total": "2.50"}},
)
NO: dict[str, Any] = {"http_status": 401, "operation": "price", "retry_after": 2.5}
API_CLASSES: tuple[type[APIError], ...] = (
    APIError,
    RateLimitError,
    *dict.fromkeys(CLASS_OF_CODE.values()),
)

ERRORS: tuple[SMSPartnerError, ...] = (
    SMSPartnerError("anything"),
    ConfigurationError("There is no API key."),
    TargetingError((("gender", "is wrong"), ("zipcodes", "are wrong"))),
    *(cls(code=10, message="Non", **NO) for cls in API_CLASSES),
    TransportError("No connection.", maybe_sent=False),
    ResponseError("it is HTML", operation="rent", http_status=502, excerpt="<p>", retry_after=3.0),
    RentOutcomeUnknownError(
        targeting=TARGETING,
        volumes={"02200": 20},
        sent_at=datetime(2025, 11, 21, 23, 50, tzinfo=UTC),
        cause=TransportError("Reset.", maybe_sent=True),
    ),
    PriceExceededError(quote=QUOTE, max_total=Decimal("2.40")),
    RentalFailedError(token="t0k3n", status=STATUS, code=36),
    AlreadyDownloadedError(token="t0k3n", status=STATUS, code=34),
    WaitTimeoutError(token="t0k3n", last_status=STATUS, elapsed=900.5, attempts=40),
    DownloadInterruptedError("Reset.", path=Path("file.csv.part"), received=5, expected=10),
)
EXPORTED = sorted(name for name in smspartner_async.__all__ if name.endswith("Error"))


def name_of(value: object) -> str:
    return type(value).__name__


def through_a_pickle(protocol: int, error: SMSPartnerError) -> Any:
    return pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - made a moment ago


def contents(error: SMSPartnerError) -> dict[str, Any]:
    """Everything that an error knows, in a form that can be compared."""
    attributes = vars(error) | {"args": error.args, "type": type(error), "text": str(error)}
    return {
        name: contents(value) if isinstance(value, SMSPartnerError) else value
        for name, value in attributes.items()
    }


def test_all_errors_are_here() -> None:
    """Every exported error is tested below."""
    assert sorted(name_of(error) for error in ERRORS) == EXPORTED


@pytest.mark.parametrize("name", EXPORTED)
def test_one_root(name: str) -> None:
    """Every exported error is an SMSPartnerError, and says in a docstring what it is."""
    cls = getattr(smspartner_async, name)
    assert issubclass(cls, SMSPartnerError)
    assert cls.__doc__


@pytest.mark.parametrize("error", ERRORS, ids=name_of)
@pytest.mark.parametrize(
    "through",
    [
        *(partial(through_a_pickle, n) for n in range(pickle.HIGHEST_PROTOCOL + 1)),
        copy.copy,
        copy.deepcopy,
    ],
)
def test_nothing_is_lost(error: SMSPartnerError, through: Any) -> None:
    """An error comes out of a pickle or a copy as it was: class, text, attributes and notes."""
    noted = copy.copy(error)
    noted.add_note("What came is kept.")
    again = through(noted)
    assert again is not noted
    assert contents(again) == contents(noted)
    assert again.__notes__ == ["What came is kept."]


@pytest.mark.parametrize(
    "error",
    [
        AlreadyDownloadedError(token="t0k3n", status=STATUS),
        RentalFailedError(token="t0k3n", status=STATUS),
        PriceExceededError(quote=QUOTE, max_total=Decimal(1)),
        WaitTimeoutError(token="t0k3n", last_status=STATUS, elapsed=0, attempts=1),
    ],
    ids=name_of,
)
def test_a_payload_does_not_travel(error: SMSPartnerError) -> None:
    """A secret: the payload of a model, which may hold anything, stays behind when pickled."""
    (model,) = (value for value in vars(error).values() if hasattr(value, "raw"))
    assert model.raw is not None
    (again,) = (v for v in vars(through_a_pickle(5, error)).values() if hasattr(v, "raw"))
    assert again == model
    assert again.raw is None


@pytest.mark.parametrize(
    ("cls", "also"),
    [
        (ConfigurationError, ValueError),
        (TargetingError, ValueError),
        (WaitTimeoutError, TimeoutError),
    ],
)
def test_usual_kinds(cls: type[SMSPartnerError], also: type[Exception]) -> None:
    """Errors that have a usual kind are caught as such, too."""
    assert issubclass(cls, also)


# What each message says: what happened, and what to do next.
WORDS: dict[type[SMSPartnerError], tuple[str, ...]] = {
    TargetingError: ("cannot be sent", "gender: is wrong", "zipcodes: are wrong"),
    APIError: ("refused to price", "code 10", "HTTP 401", "'Non'", "vendor's manual"),
    AuthenticationError: ("the API key is wrong", "SMSPARTNER_API_KEY", "nothing was charged"),
    smspartner_async.AccessDeniedError: ("support", "nothing was charged"),
    smspartner_async.InvalidRequestError: ("Correct the targeting", "nothing was charged"),
    smspartner_async.InsufficientCreditError: ("Add credit", "nothing was charged"),
    smspartner_async.RentalNotFoundError: ("Check the token",),
    smspartner_async.FileNotReadyError: ("Wait and try again", "wait_until_ready()"),
    RateLimitError: ("Wait before asking again", "max_requests_per_minute"),
    TransportError: ("No connection.", "Nothing was sent, so it is safe to try again."),
    ResponseError: ("reply to rent (HTTP 502)", "it is HTML", "'<p>'", "Check base_url"),
    RentOutcomeUnknownError: (
        "requested at 2025-11-21 23:50:00 UTC",
        "may have been charged: Reset.",
        "not sent again",
        "compare credits() with the balance",
    ),
    PriceExceededError: (
        "price is 2.50; the limit is 2.40",
        "Nothing was rented",
        "Raise max_total",
    ),
    RentalFailedError: ("Rental t0k3n failed", "Compare credits()", "support"),
    AlreadyDownloadedError: ("rental t0k3n was downloaded before", ".part file", "support"),
    WaitTimeoutError: (
        "t0k3n was not ready after 900.5 s and 40 checks",
        "GENERATING",
        "call wait_until_ready('t0k3n') again",
    ),
    DownloadInterruptedError: (
        "after 5 of 10 bytes: Reset.",
        "kept in file.csv.part",
        "Try download() again",
    ),
}


@pytest.mark.parametrize("error", [e for e in ERRORS if type(e) in WORDS], ids=name_of)
def test_messages_are_actionable(error: SMSPartnerError) -> None:
    """A message says what happened and what to do next, in whole sentences."""
    text = str(error)
    assert [words for words in WORDS[type(error)] if words not in text] == []
    assert text.endswith(".")


@pytest.mark.parametrize("cls", API_CLASSES)
@pytest.mark.parametrize("operation", ["status", "download"])
def test_a_refusal_about_a_paid_rental_does_not_say_that_nothing_was_charged(
    cls: type[APIError], operation: str
) -> None:
    """A paid request: the text of a job that is paid, and has no file yet, may be this one."""
    error = cls(code=10, message="Non", http_status=200, operation=operation)
    assert "charged" not in str(error)
    assert str(error).endswith(f" {error.advice}")


def test_messages_of_what_is_missing() -> None:
    """A message does without what is not known."""
    bare: dict[str, Any] = {"message": "", "http_status": 500, "operation": "download"}
    assert "refused to send the file (no error code; HTTP 500). Look" in str(
        APIError(code=None, **bare)
    )
    assert "code 99, no reason that its manual documents" in str(APIError(code=99, **bare))
    assert "It begins" not in str(ResponseError("it is empty", operation="rent", http_status=200))
    assert "no status was seen" in str(
        WaitTimeoutError(token="t", last_status=None, elapsed=0, attempts=0)
    )
    assert "0.0 s and 1 check (" in str(
        WaitTimeoutError(token="t", last_status=None, elapsed=0, attempts=1)
    )
    assert "after 5 bytes:" in str(DownloadInterruptedError("x", path=Path("x"), received=5))


@pytest.mark.parametrize("quote", [None, Quote(operation="price")])
def test_a_price_that_is_not_known(quote: Quote | None) -> None:
    """A paid request: a price that could not be learnt is reported as such."""
    error = PriceExceededError(quote=quote, max_total=Decimal(5))
    assert "gave no total price; the limit is 5" in str(error)
    assert error.advice in str(error)
    assert "max_total" not in error.advice  # a higher limit gives no price


@pytest.mark.parametrize(
    ("maybe_sent", "began", "fate"),
    [
        (True, True, "The vendor may have received the request."),
        (True, False, "The vendor may have received the request."),
        (False, True, "Nothing was sent, so it is safe to try again."),
    ],
)
def test_what_became_of_a_request(maybe_sent: bool, began: bool, fate: str) -> None:  # noqa: FBT001 - a table
    """A transport error says whether the request may have left; no reply begins without it."""
    error = TransportError("Reset.", maybe_sent=maybe_sent, reply_began=began)
    assert str(error) == f"Reset. {fate}"
    assert (error.maybe_sent, error.reply_began) == (maybe_sent, maybe_sent and began)


def test_the_cause_of_an_unknown_outcome() -> None:
    """A paid request: an unknown outcome carries its cause, also in its traceback."""
    error = next(error for error in ERRORS if isinstance(error, RentOutcomeUnknownError))
    assert error.__cause__ is error.cause


def test_the_table_of_codes() -> None:
    """Every code is the class that the design gives it, and no other code has one."""
    assert CODE_CLASSES == CLASS_OF_CODE


def test_every_code_has_a_meaning() -> None:
    """Every code of the vendor's list is explained; 21 is on no list, and 200 is no error."""
    listed = {1, *range(3, 21), *range(22, 29), *range(30, 37), 40, 61, 90, 96}
    assert set(CODE_MEANINGS) == listed
    assert set(CODE_CLASSES) - set(CODE_MEANINGS) == {21}


def test_every_error_is_made_somewhere() -> None:
    """No exported error is for show: the package makes each one outside of its definition."""
    root = Path(smspartner_async.__file__).parent
    made = {
        node.func.id
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    by_code = {cls.__name__ for cls in CODE_CLASSES.values()}
    # The root is there to be caught, and APIError is made for every other code.
    assert set(EXPORTED) - made - by_code <= {"SMSPartnerError", "APIError"}


def test_a_file_that_is_not_made_yet() -> None:
    """Code 33 is what comes right after a rent: its advice is to wait, in copies too."""
    facts: dict[str, Any] = {"message": "", "http_status": 200, "operation": "download"}
    for code, advice in ((33, "wait_until_ready()"), (32, "Check the token")):
        error: Any = RentalNotFoundError(code=code, **facts)
        for same in (error, copy.deepcopy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301 - our own
            assert advice in same.advice
            assert str(same).endswith(same.advice)
    assert "wait_until_ready()" not in RentalNotFoundError.advice


@pytest.mark.parametrize("through", [copy.copy, copy.deepcopy, partial(through_a_pickle, 5)])
def test_text_cause_and_notes_travel(through: Any) -> None:
    """An error is whole on the other side, and so is the chain of its causes."""
    error = WaitTimeoutError(token="t0k3n", last_status=STATUS, elapsed=2.0, attempts=3)
    error.add_note("a note")
    error.__cause__ = TransportError("Reset.", maybe_sent=True)
    error.__cause__.__cause__ = ValueError("the first")
    again = through(error)
    assert str(again).startswith("Rental t0k3n was not ready after 2.0 s and 3 checks")
    assert again.__notes__ == ["a note"]
    assert str(again.__cause__) == "Reset. The vendor may have received the request."
    assert type(again.__cause__.__cause__) is ValueError


@pytest.mark.parametrize(
    ("seen_token", "advice", "other"),
    [
        (None, "compare credits() with the balance from before", "status("),
        ("tok-1", "before you rent again, call status('tok-1')", "compare credits()"),
    ],
)
def test_the_advice_after_a_doubtful_rent(seen_token: str | None, advice: str, other: str) -> None:
    """A paid request: attribute and message give one advice, the right one, in copies too."""
    unknown = RentOutcomeUnknownError(
        targeting=TARGETING,
        volumes=None,
        sent_at=datetime(2026, 1, 2, tzinfo=UTC),
        cause=TransportError("Reset.", maybe_sent=True),
        seen_token=seen_token,
    )
    for error in (unknown, copy.deepcopy(unknown), pickle.loads(pickle.dumps(unknown))):  # noqa: S301
        assert advice in error.advice
        assert other not in error.advice
        assert str(error) == f"{error.problem} {error.advice}"
        assert error.problem.endswith("may have been charged: Reset. It is not sent again.")


class UnpicklableError(Exception):
    """One that cannot be made anew from its `args`."""

    def __init__(self, *, words: str) -> None:
        super().__init__(words)


def test_a_cause_that_cannot_be_pickled_travels_as_its_text() -> None:
    """Its class stays behind, and its words do not."""
    error = SMSPartnerError("It failed.")
    error.__cause__ = UnpicklableError(words="of disk space")
    again = through_a_pickle(5, error)
    assert type(again.__cause__) is SMSPartnerError
    assert str(again.__cause__) == "UnpicklableError: of disk space"


def test_an_error_is_quoted_without_its_advice() -> None:
    """What is quoted as a cause says what happened; the error that quotes it says what to do."""
    for maybe_sent in (True, False):
        assert TransportError("Reset.", maybe_sent=maybe_sent).problem == "Reset."
    refused = RateLimitError(code=None, message="", **NO)
    assert refused.problem == "SMS Partner refused to price (no error code; HTTP 401)."
    foreign = ResponseError("it is empty", operation="rent", http_status=502)
    assert foreign.problem.endswith("is not one of SMS Partner's: it is empty.")
