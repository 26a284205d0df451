"""The client's options in the environment: which there are, and what is said of a wrong one."""

from __future__ import annotations

import re

import attrs
import pytest
from paths import PACKAGE

from smspartner_async import ConfigurationError, PollingPolicy, RetryPolicy, SMSPartnerClient
from smspartner_async._environment import options_in

KEY = {"SMSPARTNER_API_KEY": "k-1"}
ALL = {
    "SMSPARTNER_BASE_URL": "https://example.org/v1/",
    "SMSPARTNER_REQUEST_TIMEOUT": "12.5",
    "SMSPARTNER_MAX_REQUESTS_PER_MINUTE": "300",
    "SMSPARTNER_MAX_CONNECTIONS": "20",
    "SMSPARTNER_PROXY": "http://user:pr0xyPa55@proxy.example.org:3128",
    "SMSPARTNER_RETRY_ATTEMPTS": "2",
    "SMSPARTNER_RETRY_FIRST_DELAY": "0.1",
    "SMSPARTNER_RETRY_MAX_DELAY": "3",
    "SMSPARTNER_POLLING_FIRST_INTERVAL": "1",
    "SMSPARTNER_POLLING_MAX_INTERVAL": "60",
    "SMSPARTNER_POLLING_MULTIPLIER": "2",
    "SMSPARTNER_POLLING_JITTER": "0",
    "SMSPARTNER_POLLING_TIMEOUT": "None",
    "SMSPARTNER_POLLING_MAX_CONSECUTIVE_ERRORS": "5",
}
STRATEGIES = {"wait", "stop"}  # of tenacity: objects, which no variable can hold
README = (PACKAGE / "README.md").read_text("utf-8")


def test_every_option_is_read_from_its_variable() -> None:
    """Numbers, URLs and whole policies come out as the constructor takes them."""
    assert options_in(KEY | ALL) == {
        "api_key": "k-1",
        "base_url": "https://example.org/v1",
        "request_timeout": 12.5,
        "max_requests_per_minute": 300,
        "max_connections": 20,
        "proxy": "http://user:pr0xyPa55@proxy.example.org:3128",
        "retry": RetryPolicy(attempts=2, first_delay=0.1, max_delay=3),
        "polling": PollingPolicy(
            first_interval=1,
            max_interval=60,
            multiplier=2,
            jitter=0,
            timeout=None,
            max_consecutive_errors=5,
        ),
    }


def test_no_option_is_forgotten() -> None:
    """Each number of a policy has its variable, and README names every variable there is."""
    fields = [
        f"SMSPARTNER_{option}_{field.name}".upper()
        for option, policy in (("retry", RetryPolicy), ("polling", PollingPolicy))
        for field in attrs.fields(policy)
        if field.name not in STRATEGIES
    ]
    assert set(fields) <= set(ALL)
    assert set(re.findall(r"^\| `(SMSPARTNER_\w+)`", README, re.MULTILINE)) == set(KEY | ALL)


def test_what_is_not_set_or_blank_stays_at_its_default() -> None:
    """An environment with nothing but a key gives the client that the constructor gives."""
    assert options_in(KEY | dict.fromkeys(ALL, "  ")) == {"api_key": "k-1"}


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SMSPARTNER_BASE_URL", "http://example.org"),
        ("SMSPARTNER_REQUEST_TIMEOUT", "soon"),
        ("SMSPARTNER_REQUEST_TIMEOUT", "0"),
        ("SMSPARTNER_REQUEST_TIMEOUT", "nan"),
        ("SMSPARTNER_MAX_REQUESTS_PER_MINUTE", "-1"),
        ("SMSPARTNER_MAX_CONNECTIONS", "1.5"),
        ("SMSPARTNER_PROXY", "socks5://proxy"),
        ("SMSPARTNER_RETRY_ATTEMPTS", "0"),
        ("SMSPARTNER_RETRY_ATTEMPTS", "2.5"),
        ("SMSPARTNER_RETRY_MAX_DELAY", "inf"),
        ("SMSPARTNER_RETRY_MAX_DELAY", "none"),
        ("SMSPARTNER_POLLING_JITTER", "1.5"),
        ("SMSPARTNER_POLLING_TIMEOUT", "-5"),
        ("SMSPARTNER_POLLING_TIMEOUT", "never"),
    ],
)
def test_an_error_names_the_variable(variable: str, value: str) -> None:
    """Bad input: what is wrong in the environment is named by the name of its variable."""
    with pytest.raises(ConfigurationError, match=rf"{variable}: .+\.$"):
        options_in(KEY | {variable: value})


def test_all_that_is_wrong_is_named_at_once_and_no_secret() -> None:
    """A secret: neither the key nor a proxy's password stands in the error."""
    wrong = {
        "SMSPARTNER_API_KEY": "5ecret key",
        "SMSPARTNER_PROXY": "ftp://user:pr0xyPa55@proxy",
        "SMSPARTNER_BASE_URL": "https://api.example.org?apiKey=5ecret",
        "SMSPARTNER_RETRY_ATTEMPTS": "x",
    }
    with pytest.raises(ConfigurationError) as refused:
        options_in(wrong)
    said = str(refused.value)
    assert re.findall(r"SMSPARTNER_\w+(?=:)", said) == [
        "SMSPARTNER_API_KEY",
        "SMSPARTNER_BASE_URL",
        "SMSPARTNER_PROXY",
        "SMSPARTNER_RETRY_ATTEMPTS",
    ]
    assert "5ecret" not in said
    assert "pr0xyPa55" not in said


def test_a_missing_key_is_refused() -> None:
    """Without a key, the error names the variable that it is missing from."""
    with pytest.raises(ConfigurationError, match="SMSPARTNER_API_KEY"):
        options_in({})


async def test_from_env_makes_a_client_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says is what the client does."""
    for variable, value in (KEY | ALL).items():
        monkeypatch.setenv(variable, value)
    async with SMSPartnerClient.from_env() as client:
        assert repr(client) == "<SMSPartnerClient https://example.org/v1>"
        assert client._pipeline.options.retry.attempts == 2
        assert client._pipeline.options.polling.timeout is None
        assert client._pipeline.transport.request_timeout == 12.5
        assert client._pipeline.limiter.max_connections == 20
        assert client._pipeline.limiter._interval == pytest.approx(0.2)
