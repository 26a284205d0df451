"""The options of one client, or of one of its copies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from smspartner_async._policies import PollingPolicy, RetryPolicy
from smspartner_async._validation import check_callback, check_positive, check_type

if TYPE_CHECKING:
    from attrs import Attribute

    from .exchange import OnExchange


def _positive(_: object, attribute: Attribute[float], value: float) -> None:
    check_positive(attribute.name, value)


def _retry(_: object, __: object, value: Any) -> None:
    check_type("retry", value, RetryPolicy, hint="RetryPolicy(attempts=1) tries once.")


def _polling(_: object, __: object, value: Any) -> None:
    check_type("polling", value, PollingPolicy, hint="Such as PollingPolicy(timeout=60).")


def _callbacks(_: object, __: object, value: Any) -> None:
    for listener in value:
        check_callback("on_exchange", listener, "an Exchange", kinds="plain")


@frozen(kw_only=True, eq=False)
class ClientOptions:
    """The options that a copy made by `with_options` may change; it shares all else.

    Attributes:
        request_timeout: seconds from the moment when a request may be sent to its reply's end.
        retry: when and how often a failed request is sent again.
        polling: how a wait asks.
        listeners: called with an `Exchange` after each request.
    """

    request_timeout: float = field(validator=_positive)
    retry: RetryPolicy = field(validator=_retry)
    polling: PollingPolicy = field(validator=_polling)
    listeners: tuple[OnExchange, ...] = field(default=(), validator=_callbacks)

    def changed(self, on_exchange: OnExchange | None = None, **given: Any) -> ClientOptions:
        """Return options that differ in what is not `None`, and have one listener more."""
        added = () if on_exchange is None else (on_exchange,)
        changes = {name: value for name, value in given.items() if value is not None}
        return evolve(self, **changes, listeners=(*self.listeners, *added))
