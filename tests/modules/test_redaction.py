"""A foreign text that is shown holds no key and no phone number, however they are spelled."""

from __future__ import annotations

import html
import json
import re
import time
from html.entities import codepoint2name
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replies import KEY

from smspartner_async._redaction import excerpt, redacted_line

if TYPE_CHECKING:
    from collections.abc import Callable


def in_numbers(text: str) -> str:
    return "".join(f"&#{ord(c)};" for c in text)


def percent_all(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def php(text: str) -> str:
    """Escape as PHP's json_encode does: slashes, too."""
    return json.dumps(text)[1:-1].replace("/", "\\/")


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper case": str.upper,
    "lower case": str.lower,
    "percent": quote,
    "percent without slashes": lambda key: quote(key, safe=""),
    "percent, lower case": lambda key: quote(key, safe="").lower(),
    "percent and plus": quote_plus,
    "percent twice": lambda key: quote(quote(key)),
    "percent throughout, twice": lambda key: quote(percent_all(key)),
    "JSON twice": lambda key: json.dumps(json.dumps(key)[1:-1])[1:-1],
    "HTML names": lambda key: "".join(
        f"&{codepoint2name[ord(c)]};" if ord(c) in codepoint2name else c for c in key
    ),
    "percent throughout": percent_all,
    "JSON": lambda key: json.dumps(key)[1:-1],
    "JSON in UTF-8": lambda key: json.dumps(key, ensure_ascii=False)[1:-1],
    "JSON of PHP": php,
    "HTML": html.escape,
    "HTML without quotes": lambda key: html.escape(key, quote=False),
    "HTML numbers": in_numbers,
    "HTML hexadecimal": lambda key: "".join(f"&#x{ord(c):X};" for c in key),
    "with zeros between": "\x00".join,
    "with soft hyphens": "\u00ad".join,
    "with letters of no width": "\u200b".join,
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(
    "key", [KEY, "0d5dc4fa11b0", "é€😀", "a.b*c?", "sk-$^|()[]{}", r"a\é\ub\/c"]
)
def test_the_key_in_any_spelling(spelling: str, key: str) -> None:
    """A secret: the key is found however URLs, JSON or HTML escape it."""
    echoed = SPELLINGS[spelling](key)
    assert redacted_line(f"Your key <{echoed}> is wrong", key) == "Your key <[API key]> is wrong"
    assert redacted_line(echoed * 3, key) == "[API key]" * 3


@pytest.mark.parametrize("length", range(4, len(KEY)))
def test_a_key_within_which_a_reply_is_cut(length: int) -> None:
    """A secret: of an echo of the key that ends with the reply, no beginning is shown."""
    for part in (KEY[:length], KEY[:length].upper()):
        assert redacted_line(f'{{"apiKey": "{part}', KEY) == '{"apiKey": "[API key]'
        assert excerpt(f"apiKey={part}".encode(), KEY).startswith("apiKey=[API key]")


NUMBERS = (
    *("0612345678", "06 12 34 56 78", "06.12.34.56.78", "06-12-34-56-78", "06/12/34/56/78"),
    *("06 - 12 - 34 - 56 - 78", "06_12_34_56_78", "0 612 345 678", "06  12  34  56  78"),
    *("+33612345678", "+33 6 12 34 56 78", "+33 (0)6 12 34 56 78", "+33(0)612345678"),
    *("+33 (0) 6 12 34 56 78", "0033612345678", "0033 6 12 34 56 78", "33612345678"),
    *("(0033) 6 12 34 56 78", "+33-6-12-34-56-78", "+33.6.12.34.56.78", "612345678"),
    *("06\u00a012\u00a034\u00a056\u00a078", "06\u202f12\u202f34\u202f56\u202f78"),
    *(
        "06\u201112\u201134\u201156\u201178",
        "06\u201312\u201334\u201356\u201378",
        "06\t12\n34\r\n56 78",
    ),
    *("06\u200b12\u200b34\u200b56\u200b78", "06\x0012\x0034\x0056\x0078"),
    *("٠٦١٢٣٤٥٦٧٨", "0612345678", "0590 12 34 56", "+1 (555) 123-4567", "+44 20 7946 0958"),
    *("22123456", "+352 22 12 34"),
)


@pytest.mark.parametrize("number", NUMBERS)
def test_phone_numbers(number: str) -> None:
    """A secret: a phone number is found in every usual spelling, also in the middle of a word."""
    for around in ("{}", "Tel. {} !", '"{}",', "x{}y", "id={};nom", "{}, {}"):
        text = around.replace("{}", number)
        shown = redacted_line(text, KEY)
        assert shown.count("[number]") == text.count(number)
        assert not re.search(r"\d{2}", shown)


@pytest.mark.parametrize(
    "text", ["code 10, HTTP 404", "1022.50 EUR", "02200, 60200", "02,60,75,93", "18-98", "1.2.3"]
)
def test_other_numbers_stay(text: str) -> None:
    """What is no phone number stays: codes, prices, areas, ages."""
    assert redacted_line(text, KEY) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        (" a\n\tb\r\n ", "a b"),
        ("a\x00\x1b[31mb\x7f", "a[31mb"),
        ("\ud800a\ue000", "a"),
        ("a\u202eb\u2066c\ufeff", "abc"),
        ("Clé à 5 €", "Clé à 5 €"),
        ("a" * 200, "a" * 200),
        ("a" * 201, "a" * 200 + "…"),
        ("a" * 10**6, "a" * 200 + "…"),
    ],
)
def test_one_short_line(text: str, shown: str) -> None:
    """A foreign text becomes one short line, without control characters that a terminal obeys."""
    assert redacted_line(text, KEY) == shown


@pytest.mark.parametrize("length", range(170, 205))
def test_shortening_shows_no_half(length: int) -> None:
    """A secret: a key or a number is taken out before a text is shortened, and never cut in two."""
    shown = redacted_line("x" * length + KEY + "0612345678", KEY)
    assert KEY[:4] not in shown
    assert "0612" not in shown


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"\xef\xbb\xbf<html>", "<html>"),
        (b"Cl\xe9", "Cl\ufffd"),
        (KEY.encode("utf-16"), "\ufffd\ufffd[API key]"),
    ],
)
def test_the_beginning_of_a_body(body: bytes, shown: str) -> None:
    """An excerpt is of text, whatever the bytes are."""
    ascii_key = KEY.replace("é", "e")
    assert excerpt(body.replace(b"\xe9\x00", b"e\x00"), ascii_key) == shown


@given(
    st.text(alphabet=st.characters(max_codepoint=126, min_codepoint=33), min_size=8, max_size=40),
    st.text(max_size=50),
    st.text(max_size=50),
    st.sampled_from(sorted(SPELLINGS)),
)
def test_any_key(key: str, before: str, after: str, spelling: str) -> None:
    """A secret: any key in any text is gone, in each spelling."""
    shown = redacted_line(f"{before} {SPELLINGS[spelling](key)} {after}", key)
    assert "[API key]" in shown
    assert key not in shown.replace("[API key]", "")


@pytest.mark.parametrize("filler", ["x", "1", " ", "\u200b", "%", "\\", "é1"])
def test_a_long_text_is_cut_before_it_is_cleaned(filler: str) -> None:
    """A mebibyte costs no more than its beginning, whose end shows no part of the key."""
    for before in (9_950, 9_990, 10_000 - len(KEY) // 2):
        text = (filler * before)[:before] + KEY + filler * 2**20
        shown = redacted_line(text, KEY)
        assert len(shown) <= 201
        assert KEY[:5] not in shown
    # A long sentence of the vendor's holds the event loop no longer than a short one.
    began = time.process_time()
    redacted_line(filler * 2**20, KEY)
    assert time.process_time() - began < 0.25
    calls: list[str] = []

    class Counted(str):
        """A text that counts how much of it is looked at."""

        __slots__ = ()

        def __getitem__(self, part: Any) -> str:
            calls.append(super().__getitem__(part))
            return calls[-1]

    redacted_line(Counted(filler * 2**20), KEY)
    assert sum(map(len, calls)) <= 10_000


def test_a_key_with_backslashes_holds_the_event_loop_no_longer_than_another() -> None:
    """A text full of backslashes is searched once, and not anew for each number of them."""
    began = time.process_time()
    redacted_line((r"\a" + "\\" * 24 + "b" + "\\" * 24) * 8, r"\a\b\c")
    assert time.process_time() - began < 0.25
