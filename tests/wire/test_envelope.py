"""The vendor's no, however it is said; and the token of a paid rental, wherever it stands."""

from __future__ import annotations

import json
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from replies import CLASS_OF_CODE, KEY, OPERATIONS, TOKEN, decode, refusal, reply

from smspartner_async import (
    AlreadyDownloadedError,
    APIError,
    AuthenticationError,
    RateLimitError,
    RentalFailedError,
    RentalState,
    ResponseError,
)
from smspartner_async._error_codes import CODE_MEANINGS

if TYPE_CHECKING:
    from smspartner_async import SMSPartnerError
    from smspartner_async._wire.reply import Operation

STATUSES = (200, 400, 401, 404, 500)
ABOUT_A_RENTAL = ("status", "download")
HTML = b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>"


def said_no(code: object, status: int = 200, **fields: Any) -> Any:
    body = {"success": False, "code": code, "message": "Non"} | fields
    return reply({name: value for name, value in body.items() if value is not ...}, status)


def class_of(code: int, operation: Operation) -> type[SMSPartnerError]:
    if operation in ABOUT_A_RENTAL and code in (34, 36):
        return AlreadyDownloadedError if code == 34 else RentalFailedError
    return CLASS_OF_CODE.get(code, APIError)


# --- codes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", STATUSES)
def test_a_code_is_its_class(status: int) -> None:
    """A code is the class that the design gives it, under whatever HTTP status."""
    codes = [*sorted({*CODE_MEANINGS, *CLASS_OF_CODE}), 0, 2, 99, 200, 9999]
    for code, operation in product(codes, OPERATIONS):
        error = refusal(operation, said_no(code, status))
        assert type(error) is class_of(code, operation)
        assert error.code == code  # type: ignore[attr-defined]  # all of these have one
        if isinstance(error, APIError):
            assert (error.message, error.http_status) == ("Non", status)
            assert error.operation == operation


@pytest.mark.parametrize("success", [False, "false", " False ", 0, "0", None, "", "ko", [], ...])
def test_how_a_no_is_said(success: object) -> None:
    """A no is `success` false in any type, or a documented code where `success` says neither."""
    for code, operation in product(sorted(CODE_MEANINGS), OPERATIONS):
        for written in (code, str(code), f" {code}", float(code)):
            error = refusal(operation, said_no(written, success=success))
            assert type(error) is class_of(code, operation)


@pytest.mark.parametrize("code", [None, "", "ten", True, [], {}, 1.5, 10**12, "33612345678", ...])
def test_a_no_without_a_code(code: object) -> None:
    """A no without a readable code is an APIError without one; a long number is no code."""
    error = refusal("price", said_no(code))
    assert type(error) is APIError
    assert error.code is None
    assert "no error code" in str(error)


@pytest.mark.parametrize("message", [None, 5, [], {"fr": "Non"}, True, ...])
def test_a_no_without_words(message: object) -> None:
    """A message that is no text is none."""
    error = refusal("price", said_no(10, message=message))
    assert isinstance(error, AuthenticationError)
    assert error.message == ""


@pytest.mark.parametrize("status", [401, 500])
def test_an_undocumented_code_under_an_http_error(status: int) -> None:
    """Under an HTTP error a code says no by itself, documented or not."""
    error = refusal("status", reply({"code": status, "message": "Non"}, status))
    assert (type(error), error.code) == (APIError, status)  # type: ignore[attr-defined]


@pytest.mark.parametrize("code", [200, "200", 0, 201, "OK"])
def test_a_code_that_is_no_error(code: object) -> None:
    """An answer may carry a code that is no error."""
    assert decode("status", reply({"code": code, "status": 2})).state is RentalState.READY


def test_a_yes_with_the_code_of_an_error() -> None:
    """Where `success` is true, it counts."""
    answer = reply({"success": True, "code": 32, "status": 2})
    assert decode("status", answer).state is RentalState.READY


@pytest.mark.parametrize(("code", "kind"), [(34, AlreadyDownloadedError), (36, RentalFailedError)])
def test_an_end_that_an_error_states(code: int, kind: type[SMSPartnerError]) -> None:
    """Codes 34 and 36 are the classes of states 5 and 3, and name the rental."""
    error = refusal("download", said_no(code, 404))
    assert type(error) is kind
    assert vars(error) == {"token": TOKEN, "status": None, "code": code}


# --- 429 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"{}", HTML, b"[", *map(json.dumps, ({"code": 10}, "no"))])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_too_many_requests(body: bytes | str, operation: Operation) -> None:
    """HTTP 429 is a RateLimitError with its Retry-After, whatever its body is."""
    raw = body if isinstance(body, bytes) else body.encode()
    headers = {"retry-after": "7", "content-length": str(len(raw))}
    error = refusal(operation, reply(raw, 429, headers))
    assert type(error) is RateLimitError
    assert (error.retry_after, error.http_status) == (7.0, 429)


@pytest.mark.parametrize("code", sorted(CODE_MEANINGS))
def test_too_many_requests_with_a_code(code: int) -> None:
    """HTTP 429 is a RateLimitError whatever code the vendor gives beside it."""
    for operation in OPERATIONS:
        error = refusal(operation, said_no(code, 429))
        assert type(error) is RateLimitError
        assert (error.code, error.message, error.retry_after) == (code, "Non", None)


@pytest.mark.parametrize("status", [200, 401, 503])
def test_any_error_may_ask_to_wait(status: int) -> None:
    """Retry-After is kept from every error, also from a page that is not the vendor's."""
    headers = {"Retry-After": "30"}
    for body in (HTML, b'{"success": false, "code": 99}'):
        error = refusal("price", reply(body, status, headers))
        assert error.retry_after == 30  # type: ignore[attr-defined]  # both classes have it


# --- no reply of the vendor's -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "it is empty"),
        (HTML, "it is not JSON"),
        (b'{"success": true, "token": "ab', "it is not JSON"),
        (b"<result><entry>true</entry><entry>10</entry></result>", "it is not JSON"),
        (b"{}", "no answer to this request"),
        (b"[]", "no answer to this request"),
        (b"null", "no answer to this request"),
        (b'"abc"', "no answer to this request"),
        (b"[1, 2]", "no answer to this request"),
    ],
)
@pytest.mark.parametrize("status", [200, 302, 404, 502])
def test_a_foreign_reply(body: bytes, problem: str, status: int) -> None:
    """What is neither answer nor error is a ResponseError that says what came."""
    for operation in ("calculate", "price", "rent", "status", "credits"):
        error = refusal(operation, reply(body, status))
        assert type(error) is ResponseError
        assert (error.operation, error.http_status) == (operation, status)
        assert problem in str(error)


@pytest.mark.parametrize("status", [302, 404, 500, 503])
def test_an_answer_under_an_http_error(status: int) -> None:
    """An answer under an HTTP error is not believed; only a token is (below)."""
    for operation, body in (
        ("price", {"success": True, "cost": {"total": 1}}),
        ("status", {"success": True, "status": 3}),
        ("rent", {"success": True, "token": ""}),
    ):
        assert type(refusal(operation, reply(body, status))) is ResponseError  # type: ignore[arg-type]


def test_an_error_inside_of_a_text() -> None:
    """An XML error is the whole reply: one that stands in a text of an answer is none."""
    error = "<result><entry>false</entry><entry>10</entry></result>"
    assert decode("rent", reply({"token": TOKEN, "note": error})).token == TOKEN


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<result><entry>false</entry><entry>10</entry></result>", ""),
        ("\ufeff <?xml version='1.0'?>\n<result> <entry> false </entry><entry> 10 </entry>", ""),
        ("<result><entry>false</entry><entry>10</entry><entry>Non</entry></result>", "Non"),
        ("<result><entry>false</entry><entry>10</entry><entry>&x;</entry></result>", "&x;"),
    ],
)
def test_an_error_in_xml(xml: str, message: str) -> None:
    """Bad input: XML is read by pattern, so that no entity of it is ever expanded."""
    error = refusal("status", reply(xml.encode()))
    assert isinstance(error, AuthenticationError)
    assert (error.code, error.message) == (10, message)


# --- files ------------------------------------------------------------------------------------


# --- what was rented --------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["utf-8", "gzip", "deflate", "br", "none", ""])
def test_a_token_under_a_wrong_header(coding: str) -> None:
    """A paid request: a Content-Encoding that the body belies does not cost the token."""
    answer = reply({"token": TOKEN}, headers={"Content-Encoding": coding})
    assert decode("rent", answer).token == TOKEN


def test_what_a_rental_holds() -> None:
    """What comes with a token is read as in a quote."""
    rows = [{"Type": "CP", "Localite": "06200", "Volume": "20"}, {"Type": "total"}]
    rental = decode("rent", reply({"token": TOKEN, "datas": rows[:1], "cost": {"quantity": "20"}}))
    assert [area.volume for area in rental.areas] == [20]
    assert (rental.total_volume, rental.cost.quantity) == (None, 20)
    unreadable = decode("rent", reply({"token": TOKEN, "datas": rows}))
    assert (unreadable.areas, unreadable.total_volume) == ((), None)


def test_an_echo_of_the_key() -> None:
    """A secret: a vendor that repeats the key in its words does not get it into an error."""
    error = refusal("price", said_no(10, message=f"Clé {KEY} incorrecte"))
    assert str(error).count("[API key]") == 1
    assert KEY not in str(error)
