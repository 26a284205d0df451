"""The options of a client and of its copies: checked by name, and changed one by one."""

from __future__ import annotations

from typing import Any

import pytest

from smspartner_async import ConfigurationError, PollingPolicy, RetryPolicy
from smspartner_async._http.options import ClientOptions

ONCE, ASKING = RetryPolicy(attempts=1), PollingPolicy(timeout=60)


def hear(_: object) -> None:
    """Listen."""


def also_hear(_: object) -> None:
    """Listen, too."""


OPTIONS = ClientOptions(request_timeout=30, retry=ONCE, polling=ASKING, listeners=(hear,))


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ({}, (30, ONCE, ASKING, (hear,))),
        ({"request_timeout": 5}, (5, ONCE, ASKING, (hear,))),
        ({"retry": RetryPolicy(attempts=7)}, (30, RetryPolicy(attempts=7), ASKING, (hear,))),
        ({"polling": PollingPolicy(timeout=9)}, (30, ONCE, PollingPolicy(timeout=9), (hear,))),
        ({"on_exchange": also_hear}, (30, ONCE, ASKING, (hear, also_hear))),
    ],
)
def test_a_copy_differs_in_what_is_given(change: dict[str, Any], changed: tuple[Any, ...]) -> None:
    """All else stays, a listener comes on top, and the options themselves are untouched."""
    new = OPTIONS.changed(**change)
    assert (new.request_timeout, new.retry, new.polling, new.listeners) == changed
    assert OPTIONS.listeners == (hear,)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("request_timeout", 0),
        ("request_timeout", float("nan")),
        ("request_timeout", float("inf")),
        ("request_timeout", "5"),
        ("retry", 3),
        ("polling", {"timeout": 60}),
        ("on_exchange", "not callable"),
    ],
)
def test_a_wrong_option_is_named(name: str, wrong: Any) -> None:
    """Bad input: the error names the option that is wrong."""
    with pytest.raises((ConfigurationError, TypeError, ValueError), match=f"^{name} must"):
        OPTIONS.changed(**{name: wrong})
