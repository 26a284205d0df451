"""What a reply to a rent proves, row by row. What is expected is written by hand."""

from __future__ import annotations

import gzip
import json
from urllib.parse import quote

import pytest
from replies import KEY, reply

from smspartner_async._wire.rent_verdict import Outcome, judge_rent

RENTED, REFUSED, LIMITED, UNKNOWN = Outcome
PAGE = b'<!doctype html><html><body><form><input name="token" value="c5rf99"></form></body></html>'
PROVE_NOTHING_RENTED = [
    *(1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20),
    *(22, 23, 24, 25, 26, 27, 28, 30, 31, 40, 61, 90, 96),
]


def said(answer: object, status: int = 200, *, whole: bool = True) -> tuple[Outcome, str | None]:
    """What a reply of this JSON, or of these bytes, proves: the outcome and a token."""
    verdict = judge_rent(reply(answer, status), whole=whole, secret=KEY)
    return verdict.outcome, verdict.token


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("status", [0, 200, 201, 302, 404, 429, 500, 504])
@pytest.mark.parametrize(
    "answer",
    [
        {"success": True, "code": 200, "token": "tok-1"},
        {"success": "true", "token": "tok-1"},
        {"success": 1, "datas": [{"rental": {"Token": " tok-1\n"}}]},
        {"success": True, "code": 11, "token": "tok-1"},
        [{"success": True, "token": "tok-1"}],
        b'<br />\n<b>Warning</b>: x in {y} on line 3\n{"success": true, "token": "tok-1"}',
        b'{"success": true, "token": "tok-1"}<script>analytics()</script>',
        b'5}{"success": false}{"success": true, "token": "tok-1"}\x00\x00',
        '{"success": true, "token": "tok-1"}'.encode("utf-16-le"),
    ],
    ids=repr,
)
def test_a_success_with_a_token_is_a_rental(answer: object, status: int, whole: bool) -> None:  # noqa: FBT001 - pytest's
    """Under any HTTP status, whole or dug out of other bytes."""
    assert said(answer, status, whole=whole) == (RENTED, "tok-1")


@pytest.mark.parametrize(
    ("answer", "token"),
    [
        ({"token": "123456"}, "123456"),
        ({"token": 123456}, "123456"),
        ({"code": 200, "token": "abcdef"}, "abcdef"),
        ({"code": "200", "data": {"token": "abcdef"}}, "abcdef"),
        ({"datas": {"Token": "abcdef"}}, "abcdef"),
    ],
)
def test_a_whole_success_of_http_may_leave_out_the_word(answer: object, token: str) -> None:
    """With a token of six characters, at its top or directly in its data."""
    assert said(answer, 201) == (RENTED, token)


@pytest.mark.parametrize(
    ("answer", "status", "whole", "seen"),
    [
        ({"token": "12345"}, 200, True, "12345"),
        ({"token": "123456"}, 404, True, "123456"),
        ({"token": "123456"}, 429, True, "123456"),
        ({"token": "123456"}, 200, False, "123456"),
        ({"code": 201, "token": "123456"}, 200, True, "123456"),
        ({"code": 0, "token": "123456"}, 200, True, "123456"),
        ({"success": None, "token": "123456"}, 200, True, "123456"),
        ({"success": "ok", "token": "123456"}, 200, True, "123456"),
        ({"location": {"token": "123456"}}, 200, True, "123456"),
        ({"datas": [{"token": "123456"}]}, 200, True, "123456"),
        ({"success": False, "code": 11, "token": "123456"}, 200, True, "123456"),
        ({"Success": False, "token": "123456"}, 200, True, "123456"),
        ({"data": {"success": False, "token": "123456"}}, 200, True, "123456"),
        ({"success": False, "code": 11, "message": "made: token=abc123"}, 200, True, "abc123"),
        ({"success": False, "code": 11, "message": "(token=abc123)"}, 200, True, "abc123"),
        ({"success": False, "code": 11, "message": "token: abc123."}, 200, True, "abc123"),
        ({"success": False, "code": 11, "message": '{"token":"abc123"}'}, 200, True, "abc123"),
        (rb'{"success":false,"code":11,"a":"<token>123<\/token>"}', 200, True, "123"),
        (
            b"<result><entry>false</entry><entry>10</entry><token>123</token></result>",
            *(200, True, "123"),
        ),
        ({"message": "token=abc123"}, 429, True, "abc123"),
        ([{"success": True}], 429, True, None),
        (b'Notice: x {"success": true}', 429, True, None),
        (b'{"success": true, "token": "123456", "co', 200, False, "123456"),
        (b'{"success": true, "token": "123456"', 200, False, "123456"),
        (b'{"success": true, "token": "1234', 200, False, None),
        (PAGE, 200, True, None),
        (b'<html><script>var token = "c5rf99";</script></html>', 200, True, "c5rf99"),
        (b'<html><script>{"success": true, "token": "c5rf99"}</script>', 200, True, "c5rf99"),
        (b"<html><a href='/x?token=c5rf99&y'>", 200, True, "c5rf99"),
        (rb'"{\"token\": \"123456\", ', 200, True, "123456"),
        (b"<result><token>123456</token></result>", 200, True, "123456"),
        ({"errors": {"token": "This value should not be blank"}}, 400, True, None),
        ({"success": True}, 200, True, None),
        ({"success": True}, 429, True, None),
        ({"success": 1.0}, 429, True, None),
        ({"result": {"success": True}}, 429, True, None),
        ({"data": '{"success": true}'}, 429, True, None),
        (b'{"success": true, "success": false, "code": 11}', 429, True, None),
        (b'{"success": true, "success": false, "code": 11}', 200, True, None),
        (b"<result><success>true</success></result>", 429, True, None),
        ({"code": 4}, 504, True, None),
        ({"code": 11}, 200, True, None),
        ({"success": False}, 200, True, None),
        ({"success": False, "code": 11}, 200, False, None),
        ({"success": False, "code": 429}, 429, False, None),
        ([{"success": False, "code": 11}], 200, True, None),
        (b'Notice: x {"success": false, "code": 11}', 200, True, None),
        (b"<result><entry>false</entry><entry>10</entry></result> and more", 200, True, None),
        (b'{"success": false, "code": 429', 429, True, None),
        (b"", 429, True, None),
        ({"data": '{"token": "123456"}'}, 429, True, "123456"),
        ({"success": True, "data": '{"token": "123456"}'}, 200, True, "123456"),
        (b"success=1&token=123456", 200, True, "123456"),
        (b"success=1&token=123456", 200, False, None),
        (b"", 200, True, None),
        (b"", 0, False, None),
    ],
    ids=repr,
)
def test_everything_else_is_unknown(
    answer: object,
    status: int,
    whole: bool,  # noqa: FBT001 - pytest's
    seen: str | None,
) -> None:
    """With what looks like a token, if there is one that was not cut."""
    assert said(answer, status, whole=whole) == (UNKNOWN, seen)


@pytest.mark.parametrize(
    "cut", [b'{"suc', b'{"success": true, "co', b'<br>Notice: x\n{"code": 429, "dat', b'{"a": {}']
)
def test_a_429_that_is_cut_json_proves_nothing(cut: bytes) -> None:
    """However it is framed: a length may be wrong."""
    for headers in ({"Content-Length": str(len(cut))}, {}):
        verdict = judge_rent(reply(cut, 429, headers), whole=True, secret=KEY)
        assert (verdict.outcome, verdict.token) == (UNKNOWN, None)


@pytest.mark.parametrize("code", PROVE_NOTHING_RENTED)
def test_a_plain_no_with_a_code_that_proves_it_is_a_refusal(code: int) -> None:
    """Under any HTTP status but 429, and in the vendor's XML too."""
    for status in (200, 400, 403, 500, 504):
        assert said({"success": False, "code": code, "message": "Non"}, status) == (REFUSED, None)
        assert said({"success": "false", "code": str(code)}, status) == (REFUSED, None)
        xml = f"<?xml version='1.0'?><result><entry>false</entry><entry>{code}</entry></result>\n"
        assert said(xml.encode(), status) == (REFUSED, None)


@pytest.mark.parametrize("message", ["Le token est requis", "token: ", "mauvais token.", "tokens"])
def test_a_no_may_speak_of_a_token(message: str) -> None:
    """The word alone is no token."""
    assert said({"success": False, "code": 31, "message": message}) == (REFUSED, None)


@pytest.mark.parametrize("behind", [b"more", gzip.compress(b"more")], ids=["bytes", "a member"])
def test_a_compressed_no_with_more_behind_it_proves_nothing(behind: bytes) -> None:
    """A plain no has nothing else in it."""
    packed = gzip.compress(b'{"success": false, "code": 11}')
    for body, outcome in ((packed, REFUSED), (packed + behind, UNKNOWN)):
        encoded = reply(body, 200, {"Content-Encoding": "gzip"})
        assert judge_rent(encoded, whole=True, secret=KEY).outcome is outcome


@pytest.mark.parametrize("code", [0, 2, 21, 29, 32, 33, 34, 35, 36, 77, 200, 429, 1000, None])
def test_a_no_with_another_code_proves_nothing(code: int | None) -> None:
    """It is about a rental or a file, or is not documented."""
    assert said({"success": False, "code": code}) == (UNKNOWN, None)


@pytest.mark.parametrize(
    "answer", [b"", b"slow down", {"success": False, "code": 429}, {"code": 11}, b"<html></html>"]
)
def test_a_whole_429_may_be_sent_again(answer: object) -> None:
    """It says neither success nor holds a token."""
    framed = reply(answer, 429, {"Content-Length": "1"})
    verdict = judge_rent(framed, whole=True, secret=KEY)
    assert (verdict.outcome, verdict.token) == (LIMITED, None)


@pytest.mark.parametrize(
    "token",
    [
        *(None, True, False, 1.5, [], {}, ["a"], "", "  ", "a b", "a\nb", "a\0", "a\u200b"),
        *("null", "None", "TRUE", "false", KEY, KEY.upper(), "t" * 201),
    ],
    ids=repr,
)
def test_what_is_no_token(token: object) -> None:
    """What could not be sent back, stands for nothing, or is the API key is no token."""
    assert said({"success": True, "token": token}) == (UNKNOWN, None)


def test_the_shallowest_token_counts() -> None:
    """A rental's own stands above those of what it contains."""
    answer = {"success": True, "deep": {"token": "deep"}, "Token": None, "token": "t" * 200}
    assert said(answer) == (RENTED, "t" * 200)


def test_a_compressed_reply_that_is_cut_is_read_as_far_as_it_goes() -> None:
    """Nobody asked for it, and it holds the token all the same."""
    packed = gzip.compress(json.dumps({"success": True, "token": "tok-1"}).encode() + b" " * 9000)
    for cut, whole in ((packed, True), (packed[:-9], True), (packed[:-9], False)):
        verdict = judge_rent(reply(cut, 200, {"Content-Encoding": "gzip"}), whole=whole, secret=KEY)
        assert (verdict.outcome, verdict.token) == (RENTED, "tok-1")


@pytest.mark.parametrize(
    ("header", "seen"),
    [
        ({"Location": "/location/status?token=123456&format=json"}, "123456"),
        ({"X-Token": "123456", "Set-Cookie": "a=b"}, "123456"),
        ({"Set-Cookie": "token=123456; Path=/"}, None),
        ({"set-cookie": "token=123456; Path=/"}, None),
    ],
    ids=str,
)
def test_a_token_is_looked_for_in_the_head(header: dict[str, str], seen: str | None) -> None:
    """Not in cookies, which are secrets: an error shows what is found."""
    verdict = judge_rent(reply(b"", 302, header), whole=True, secret=KEY)
    assert (verdict.outcome, verdict.token) == (UNKNOWN, seen)


@pytest.mark.parametrize(
    "before",
    [b"{", b"{x} " * 48, b" " * 900_000 + b"{x} {} " * 24, b'{"a": ' + b"[" * 100_000 + b"}"],
    ids=["a bracket", "templates", "far behind", "too deep"],
)
def test_a_rental_is_dug_out_from_behind(before: bytes) -> None:
    """Brackets that open no JSON hide none that comes behind them."""
    assert said(before + b'{"success": true, "token": "tok-1"}') == (RENTED, "tok-1")


@pytest.mark.parametrize("depth", [100, 10_000, 500_000])
@pytest.mark.parametrize("bracket", ["[", '{"a":', "[{"])
def test_json_that_is_too_deep_to_read_proves_nothing(bracket: str, depth: int) -> None:
    """However deep it is, on every Python, and within a moment."""
    assert said((bracket * depth).encode()[: 2**20]) == (UNKNOWN, None)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":' * 60 + b"[" + b"1," * 2**20,
        b"<token>" + b" " * 2**21,
        b'{"a":[' * 60 + b"{}," * 2**20,
    ],
    ids=["cut objects", "blanks", "cut lists"],
)
def test_bytes_that_are_read_over_and_over_are_given_up(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two readings of the whole are enough: each holds the event loop."""
    tried: list[int] = []

    class Counting(json.JSONDecoder):
        def raw_decode(self, s: str, idx: int = 0) -> tuple[object, int]:
            tried.append(idx)
            return super().raw_decode(s, idx)

    monkeypatch.setattr("smspartner_async._wire.rent_verdict.JSON", Counting())
    assert said(body[: 2**21], whole=False) == (UNKNOWN, None)
    assert len(tried) <= 2


@pytest.mark.parametrize(
    "form", ['{{"token": "{}"', "<a?token={}&x>", "<token>{}</token>", "token = '{}';"]
)
def test_no_part_of_the_api_key_is_taken_for_a_token(form: str) -> None:
    """However it is echoed."""
    for secret in ("simple-key-12", KEY):
        for echo in (secret, json.dumps(secret)[1:-1], quote(secret), secret.upper()):
            verdict = judge_rent(reply(form.format(echo).encode()), whole=True, secret=secret)
            assert verdict.token is None
