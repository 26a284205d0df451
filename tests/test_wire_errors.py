"""The vendor's no, however it is said; and the token of a paid rental, wherever it stands."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest
from replies import CLASS_OF_CODE, KEY, OPERATIONS, TOKEN, WIRE, decode, refusal, reply

from smspartner_async import (
    AlreadyDownloadedError,
    APIError,
    AuthenticationError,
    RateLimitError,
    RentalFailedError,
    RentalState,
    ResponseError,
)
from smspartner_async._codes import CODE_MEANINGS

if TYPE_CHECKING:
    from smspartner_async import SMSPartnerError
    from smspartner_async._reply import Operation

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


@pytest.mark.parametrize("code", [*sorted({*CODE_MEANINGS, *CLASS_OF_CODE}), 0, 2, 99, 200, 9999])
@pytest.mark.parametrize("status", STATUSES)
def test_a_code_is_its_class(code: int, status: int) -> None:
    """A code is the class that the design gives it, under whatever HTTP status."""
    for operation in OPERATIONS:
        error = refusal(operation, said_no(code, status))
        assert type(error) is class_of(code, operation)
        assert error.code == code  # type: ignore[attr-defined]  # all of these have one
        if isinstance(error, APIError):
            assert (error.message, error.http_status) == ("Non", status)
            assert error.operation == operation


@pytest.mark.parametrize("code", sorted(CODE_MEANINGS))
@pytest.mark.parametrize("success", [False, "false", " False ", 0, "0", None, "", "ko", [], ...])
def test_how_a_no_is_said(code: int, success: object) -> None:
    """A no is `success` false in any type, or a documented code where `success` says neither."""
    for operation in OPERATIONS:
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
    """An answer may carry a code that tells of no error."""
    assert decode("status", reply({"code": code, "status": 2})).state is RentalState.READY


def test_a_yes_with_the_code_of_an_error() -> None:
    """Where `success` is true, it counts."""
    answer = reply({"success": True, "code": 32, "status": 2})
    assert decode("status", answer).state is RentalState.READY


@pytest.mark.parametrize(("code", "kind"), [(34, AlreadyDownloadedError), (36, RentalFailedError)])
def test_an_end_that_an_error_tells(code: int, kind: type[SMSPartnerError]) -> None:
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
    error = refusal(operation, reply(raw, 429, {"retry-after": "7"}))
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

PAGES = (
    b"",
    b" \n<html>",
    b"<br />\n<b>Fatal error</b>",
    b"\xef\xbb\xbf<!doctype html>",
    b"<?xml?>",
)


@pytest.mark.parametrize("body", PAGES)
def test_a_page_is_no_file(body: bytes) -> None:
    """A file: nothing, or markup of any kind, is not taken for contacts, compressed or not."""
    assert type(refusal("download", reply(body))) is ResponseError
    packed = reply(gzip.compress(body), headers={"Content-Encoding": "gzip"})
    assert type(refusal("download", packed)) is ResponseError


FILES = (
    b"+33639980000\n",
    b"33639980000",
    b"0",
    b"numero;nom\n0639980000;<b>",
    b"PK\x03\x04",
    b'["0639980000"]',
    b'{"contacts": ["0639980000"]}',
    b'{"code": "75001", "numbers": []}',
    b'{"code": 250, "numbers": []}',
)


@pytest.mark.parametrize("body", FILES)
def test_a_file_is_no_error(body: bytes) -> None:
    """A file: whatever tells of no error is taken for contacts, whose format is undocumented."""
    assert WIRE.file_refusal(TOKEN, reply(body)) is None


def test_the_beginning_of_a_compressed_file() -> None:
    """A file: one that is compressed, and longer than what was looked at, is no page."""
    body = gzip.compress(bytes(range(256)) * 64)[:-9]
    assert WIRE.file_refusal(TOKEN, reply(body, headers={"Content-Encoding": "gzip"})) is None


@pytest.mark.parametrize("body", FILES)
@pytest.mark.parametrize("status", [302, 404, 500])
def test_no_file_under_an_http_error(body: bytes, status: int) -> None:
    """A secret: what comes under an HTTP error is no file, and not shown: it may be contacts."""
    error = refusal("download", reply(body, status))
    assert isinstance(error, ResponseError | APIError)
    assert "63998" not in str(error)


# --- tokens -----------------------------------------------------------------------------------


def token_in(payload: object, status: int = 200) -> str:
    token = decode("rent", reply(payload, status)).token
    assert isinstance(token, str)
    return token


@pytest.mark.parametrize(
    ("payload", "token"),
    [
        ({"token": TOKEN}, TOKEN),
        ({"success": True, "op": "rent", "token": f" {TOKEN}\n"}, TOKEN),
        ({"success": True, "Token": TOKEN}, TOKEN),
        ({" TOKEN ": TOKEN}, TOKEN),
        ({"token": "identifiant de la location"}, "identifiant de la location"),
        ({"token": 1234}, "1234"),
        ({"token": 10**60}, str(10**60)),
        ({"token": 10**100}, str(10**100)),
        ({"token": "0"}, "0"),
        ({"location": {"token": TOKEN}}, TOKEN),
        ({"datas": [{"Type": "CP"}, {"rental": [[{"token": TOKEN}]]}]}, TOKEN),
        ({"deep": {"token": "deep"}, "token": TOKEN}, TOKEN),
        ({"token": "", "location": {"token": TOKEN}}, TOKEN),
        ({"token": None, "Token": TOKEN}, TOKEN),
        ({"token": {"token": TOKEN}}, TOKEN),
    ],
)
def test_where_a_token_may_stand(payload: object, token: str) -> None:
    """A paid request, 4: a token is found wherever an undocumented reply puts it."""
    assert token_in(payload) == token


@pytest.mark.parametrize(
    "token",
    [None, "", " \n", True, False, 1.5, [], {}, ["a"], "a\nb", "a\x00", "\ud800", "a\u200b"],
)
def test_what_is_no_token(token: object) -> None:
    """A paid request, 3: what could not be sent back is no token, and its rent is no success."""
    error = refusal("rent", reply({"success": True, "token": token}))
    assert type(error) is ResponseError
    assert "no rental token" in str(error)


@pytest.mark.parametrize(
    "beside",
    [
        *('"datas": 5', '"datas": [5]', '"datas": [{"Type": "CP"}]', '"datas": {"0": []}'),
        *('"cost": 5', '"cost": []', '"cost": {"total": "free"}', '"cost": {"total": NaN}'),
        *('"x": 1e999999999999999999999', f'"x": {"9" * 5000}', '"x": Infinity', '"x": "\xff"'),
        *('"code": 0', '"code": 201', '"success": null', '"success": ""', '"success": "ok"'),
    ],
)
def test_a_token_beside_nonsense(beside: str) -> None:
    """A paid request, 4: whatever else is odd about a reply, it does not cost the token."""
    assert token_in(f'{{{beside}, "token": "{TOKEN}"}}'.encode("latin-1")) == TOKEN


@pytest.mark.parametrize("status", [200, 201, 202, 302, 404, 429, 500, 503])
def test_a_token_under_any_status(status: int) -> None:
    """A paid request, 4: a token that came back is a rental, whatever HTTP status it came with.

    Under 429 it must not be taken for a refusal, after which a rent is sent again.
    """
    assert token_in({"success": True, "token": TOKEN}, status) == TOKEN


@pytest.mark.parametrize("coding", ["utf-8", "gzip", "deflate", "br", "none", ""])
def test_a_token_under_a_wrong_header(coding: str) -> None:
    """A paid request, 4: a Content-Encoding that the body belies does not cost the token."""
    answer = reply({"token": TOKEN}, headers={"Content-Encoding": coding})
    assert decode("rent", answer).token == TOKEN


@pytest.mark.parametrize("code", sorted(CODE_MEANINGS))
def test_a_token_in_an_error(code: int) -> None:
    """A no is a no, though a token stands in it."""
    for success in (False, ...):
        error = refusal("rent", said_no(code, success=success, token=TOKEN))
        assert type(error) is CLASS_OF_CODE.get(code, APIError)


def test_what_a_rental_tells() -> None:
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
