"""What can be known wrong before anything is sent: keys, URLs, tokens, limits."""

from __future__ import annotations

import math
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from smspartner_async import (
    ConfigurationError,
    Cost,
    PriceExceededError,
    Quote,
    Rental,
    RentalState,
    RentalStatus,
    SMSPartnerClient,
)
from smspartner_async._validation import (
    check_positive,
    check_price,
    checked_key,
    checked_limit,
    checked_token,
    checked_url,
)


@pytest.mark.parametrize("key", ["k", "0d5d/c+4f%a", " key\n", "é€😀"])
def test_keys(key: str) -> None:
    """A key is any printable text without blanks; those around it are taken off."""
    assert checked_key(key) == key.strip()


@pytest.mark.parametrize("key", ["", " ", "\t\n", "\u00a0"])
def test_a_blank_key(key: str) -> None:
    """A blank key is refused before anything is sent, with the two places where it may stand."""
    with pytest.raises(ConfigurationError, match="Pass api_key, or set SMSPARTNER_API_KEY"):
        SMSPartnerClient(key)


@pytest.mark.parametrize("key", ["a b", "a\nb", "a\x00b", "a\u00a0b", "a\u200bb", "\ud800"])
def test_a_key_that_cannot_be_one(key: str) -> None:
    """A secret: a key with a blank or a control character is refused without being shown."""
    with pytest.raises(ConfigurationError, match="copy it again") as caught:
        checked_key(key)
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://api.smspartner.fr/v1", "https://api.smspartner.fr/v1"),
        (" https://api.smspartner.fr/v1/ ", "https://api.smspartner.fr/v1"),
        ("HTTPS://API.SMSPARTNER.FR/v1", "https://api.smspartner.fr/v1"),
        ("https://proxy.example:8443", "https://proxy.example:8443"),
        ("https://10.0.0.1/v1", "https://10.0.0.1/v1"),
        ("http://localhost:8080/v1", "http://localhost:8080/v1"),
        ("HTTP://LOCALHOST/v1", "http://localhost/v1"),
        ("http://127.0.0.1:1", "http://127.0.0.1:1"),
        ("http://127.8.9.10/", "http://127.8.9.10"),
        ("http://[::1]:8080/v1", "http://[::1]:8080/v1"),
    ],
)
def test_urls(url: str, kept: str) -> None:
    """The key goes out over TLS, or to this machine; case and a slash at the end do not matter."""
    assert checked_url(url) == kept


@pytest.mark.parametrize(
    "host",
    [
        "api.smspartner.fr",
        "API.SMSPARTNER.FR",
        "localhost.evil.com",
        "localhost.",
        "127.0.0.1.evil.com",
        "127.1",
        "2130706433",
        "0.0.0.0",  # noqa: S104 - refused
        "128.0.0.1",
        "10.0.0.1",
        "[::]",
        "[::2]",
        "[fe80::1]",
    ],
)
def test_http_elsewhere(host: str) -> None:
    """A secret: the key never goes over http:// to a host that is not certainly this machine."""
    with pytest.raises(ConfigurationError, match="everybody in between could read the API key"):
        checked_url(f"http://{host}/v1")


@pytest.mark.parametrize(
    "url",
    [
        "https://user@api.smspartner.fr/v1",
        "https://user:secret@api.smspartner.fr/v1",
        "https://:secret@api.smspartner.fr/v1",
        "http://localhost@evil.com/v1",
        "http://localhost:80@evil.com/v1",
        "https://api.smspartner.fr/v1?apiKey=secret",
        "https://api.smspartner.fr/v1#secret",
    ],
)
def test_urls_with_more_than_a_path(url: str) -> None:
    """A secret: user names, queries and fragments are refused, and not shown."""
    with pytest.raises(
        ConfigurationError, match="scheme, host and path, and nothing else"
    ) as caught:
        checked_url(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            " ",
            "api.smspartner.fr/v1",
            "//api.smspartner.fr/v1",
            "/v1",
            "https://",
            "https:///v1",
        ),
        *("ftp://api.smspartner.fr", "file:///etc/passwd", "ws://localhost", "http:localhost"),
    ],
)
def test_urls_of_nowhere(url: str) -> None:
    """What is no https:// with a host name is refused as such."""
    with pytest.raises(ConfigurationError, match="must begin with https:// and a host name"):
        checked_url(url)


@pytest.mark.parametrize("url", ["https://host:port", "https://host:99999", "https://[::1"])
def test_urls_that_are_none(url: str) -> None:
    """What cannot be taken apart is no URL, and its parts hang on to no other exception."""
    with pytest.raises(ConfigurationError, match="The base URL is no URL") as caught:
        checked_url(url)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_url_with_a_blank() -> None:
    """A blank in a host name is refused before anything is sent."""
    with pytest.raises(ConfigurationError, match="The base URL"):
        checked_url("https://api smspartner.fr/v1")


@pytest.mark.parametrize("number", [1, 0.001, 10**9])
def test_positive_numbers(number: float) -> None:
    """Numbers above 0 go through."""
    check_positive("request_timeout", number)


@pytest.mark.parametrize("number", [0, -1, math.nan, math.inf, -math.inf, True, "5", None])
def test_what_is_not_positive(number: Any) -> None:
    """Anything else is a ValueError that names the option."""
    with pytest.raises(ValueError, match="request_timeout must be a number above 0"):
        check_positive("request_timeout", number)


@pytest.mark.parametrize("limit", [Decimal("2.50"), Decimal(0), 0, 5])
def test_limits(limit: Decimal | int) -> None:
    """A limit is an exact amount from 0 on."""
    assert checked_limit(limit) == limit


@pytest.mark.parametrize(
    "limit", [Decimal("-0.01"), Decimal("NaN"), Decimal("sNaN"), Decimal("inf"), -1]
)
def test_limits_out_of_range(limit: Decimal | int) -> None:
    """An amount that no price can be compared with is refused."""
    with pytest.raises(ValueError, match="max_total must be a number from 0 on"):
        checked_limit(limit)


@pytest.mark.parametrize("limit", [2.5, "2.50", True, None, []])
def test_limits_that_are_not_exact(limit: object) -> None:
    """A float is no amount of money."""
    with pytest.raises(TypeError, match="max_total must be a Decimal, which is exact"):
        checked_limit(limit)


def quoted(total: str | None) -> Quote:
    return Quote(operation="price", cost=Cost(total=None if total is None else Decimal(total)))


@pytest.mark.parametrize("total", ["0", "2.49", "2.50", "2.500"])
def test_prices_within_a_limit(total: str) -> None:
    """A paid request: a price may be as high as its limit."""
    check_price(quoted(total), Decimal("2.5"))


@pytest.mark.parametrize(
    "quote", [quoted("2.51"), quoted("1e3"), quoted("-1"), quoted(None), Quote(operation="price")]
)
def test_prices_beyond_a_limit(quote: Quote) -> None:
    """A paid request: a price above its limit, or none at all, is refused."""
    with pytest.raises(PriceExceededError) as caught:
        check_price(quote, Decimal("2.5"))
    assert (caught.value.quote, caught.value.max_total) == (quote, Decimal("2.5"))


@pytest.mark.parametrize(
    "token",
    [
        "t0k3n",
        " t0k3n ",
        Rental(token="t0k3n"),
        RentalStatus(token="t0k3n", state=RentalState.READY),
        SimpleNamespace(token="t0k3n"),
    ],
)
def test_tokens(token: Any) -> None:
    """A token is text, or stands in anything that has one."""
    assert checked_token(token) == "t0k3n"


@pytest.mark.parametrize("token", ["", " ", "a\nb", "a\x00", "\ud800", SimpleNamespace(token=" ")])
def test_tokens_that_cannot_be_sent(token: Any) -> None:
    """A blank or unprintable token is refused before anything is sent."""
    with pytest.raises(ValueError, match="blank or not printable; pass the token that rent"):
        checked_token(token)


@pytest.mark.parametrize("token", [None, 5, b"t0k3n", ["t0k3n"], SimpleNamespace(token=5)])
def test_what_has_no_token(token: Any) -> None:
    """What has no token is a TypeError that says what it is."""
    with pytest.raises(TypeError, match=f"not {type(token).__name__}"):
        checked_token(token)
