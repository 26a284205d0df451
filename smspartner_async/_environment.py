"""The client's options as variables of the environment, for `SMSPartnerClient.from_env()`. Pure."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from attrs import fields

from ._errors import ConfigurationError
from ._policies import PollingPolicy, RetryPolicy
from ._validation import (
    KEY_VARIABLE,
    check_positive,
    checked_key,
    checked_proxy,
    checked_url,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Reader = Callable[[str], Any]

_NUMBERS: Final = ("int", "float", "float | None")  # types, as text, which annotations are
_POLICIES: Final = {"retry": RetryPolicy, "polling": PollingPolicy}


def options_in(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the constructor's arguments; a variable that is blank counts as not set.

    `SMSPARTNER_REQUEST_TIMEOUT` is the option `request_timeout`, `SMSPARTNER_RETRY_ATTEMPTS` the
    field `attempts` of the option `retry`, and so on.

    Raises:
        ConfigurationError: it names every variable that is wrong, and shows no key or password.
    """
    problems: list[str] = []
    options: dict[str, Any] = {}
    policies: dict[str, dict[str, Any]] = {option: {} for option in _POLICIES}
    for name, read in _READERS.items():
        variable = f"SMSPARTNER_{name.replace('.', '_')}".upper()
        text = environ.get(variable, "").strip()
        option, _, field = name.partition(".")
        if text or variable == KEY_VARIABLE:
            try:
                policies.get(option, options)[field or option] = read(text)
            except ValueError as error:  # a ConfigurationError is one as well
                problems.append(f"{variable}: {str(error).rstrip('.')}")
    if problems:
        raise ConfigurationError(f"The environment cannot be used. {'; '.join(problems)}.")
    return options | {name: _POLICIES[name](**given) for name, given in policies.items() if given}


def _number(check: Callable[[str, Any], object], name: str, kind: str, text: str) -> float | None:
    endless = "None" in kind and text.lower() == "none"
    try:
        value = None if endless else (int if kind == "int" else float)(text)
    except ValueError:
        word = "a whole number" if kind == "int" else "a number"
        raise ValueError(f"must be {word}: {text!r}") from None
    check(name, value)
    return value


def _check_field(policy: type[Any], name: str, value: object) -> None:
    """Let the policy itself check one of its fields."""
    policy(**{name: value})


def _proxy(text: str) -> str:
    checked_proxy(text)
    return text


# A tenacity strategy cannot stand in a variable: of the policies, only the numbers are read.
_READERS: Final[dict[str, Reader]] = {
    "api_key": checked_key,
    "base_url": checked_url,
    "request_timeout": partial(_number, check_positive, "request_timeout", "float"),
    "max_requests_per_minute": partial(_number, check_positive, "max_requests_per_minute", "float"),
    "max_connections": partial(_number, check_positive, "max_connections", "int"),
    "proxy": _proxy,
    **{
        f"{option}.{field.name}": partial(
            _number, partial(_check_field, policy), field.name, str(field.type)
        )
        for option, policy in _POLICIES.items()
        for field in fields(policy)
        if str(field.type) in _NUMBERS
    },
}
