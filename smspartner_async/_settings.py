"""The client's options as variables of the environment, for `SMSPartnerClient.from_env()`. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import fields

from ._checks import KEY_VARIABLE, check_positive, checked_key, checked_url
from ._errors import ConfigurationError
from ._polling import PollingPolicy
from ._retry import RetryPolicy
from ._transport import checked_proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from attrs import Attribute

    Reader = Callable[[str], Any]

_PREFIX: Final = "SMSPARTNER_"
_POLICIES: Final = {"retry": RetryPolicy, "polling": PollingPolicy}


def options_in(environ: Mapping[str, str]) -> dict[str, Any]:
    """Read the constructor's arguments; a variable that is blank counts as one that is not set.

    `SMSPARTNER_REQUEST_TIMEOUT` is the option `request_timeout`, `SMSPARTNER_RETRY_ATTEMPTS` the
    field `attempts` of the option `retry`, and so on.

    Raises:
        ConfigurationError: it names every variable that is wrong, and shows no key or password.
    """
    problems: list[str] = []

    def read(readers: Mapping[str, Reader], prefix: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, reader in readers.items():
            variable = f"{prefix}{name}".upper()
            text = environ.get(variable, "").strip()
            if text or variable == KEY_VARIABLE:
                try:
                    found[name] = reader(text)
                except ValueError as error:  # a ConfigurationError is one as well
                    problems.append(f"{variable}: {str(error).rstrip('.')}")
        return found

    options = read(_OPTIONS, _PREFIX)
    given = {
        option: read({field.name: _reader(policy, field) for field in fields(policy)}, prefix)
        for option, policy in _POLICIES.items()
        for prefix in [f"{_PREFIX}{option}_"]
    }
    if problems:
        raise ConfigurationError(f"The environment cannot be used. {'; '.join(problems)}.")
    policies = {name: _POLICIES[name](**chosen) for name, chosen in given.items() if chosen}
    return options | policies


def _number(text: str, kind: type[int | float]) -> float:
    try:
        return kind(text)
    except ValueError:
        word = "a whole number" if kind is int else "a number"
        raise ValueError(f"must be {word}: {text!r}") from None


def _positive(name: str, kind: type[int | float]) -> Reader:
    def read(text: str) -> float:
        value = _number(text, kind)
        check_positive(name, value)
        return value

    return read


def _proxy(text: str) -> str:
    checked_proxy(text)
    return text


def _reader(policy: type[Any], field: Attribute[Any]) -> Reader:
    """Read one field of a policy, as its type tells, and let the policy itself check it."""
    kind = str(field.type)  # a text, as annotations are

    def read(text: str) -> float | None:
        endless = "None" in kind and text.lower() == "none"
        value = None if endless else _number(text, int if kind == "int" else float)
        policy(**{field.name: value})
        return value

    return read


_OPTIONS: Final[dict[str, Reader]] = {
    "api_key": checked_key,
    "base_url": checked_url,
    "request_timeout": _positive("request_timeout", float),
    "max_requests_per_minute": _positive("max_requests_per_minute", float),
    "max_connections": _positive("max_connections", int),
    "proxy": _proxy,
}
