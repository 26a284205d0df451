"""The package's logger, and the fields of its records for structured logs."""

from __future__ import annotations

import logging
import traceback
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator


class _SafeLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger that never raises, whatever the application's filters and record factory do.

    A rental may just have been paid: a log record that fails must not lose its token.
    """

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log; what goes wrong is written to stderr, as logging does with handlers that fail."""
        try:
            self.logger.log(level, msg, *args, stacklevel=2, **kwargs)
        except Exception:  # noqa: BLE001 - as said above
            if logging.raiseExceptions:
                with suppress(Exception):  # a service without a stderr, or with a closed one
                    traceback.print_exc()


log: Final = _SafeLogger(logging.getLogger(__package__))


@contextmanager
def shown_by(handler: logging.Handler, level: int) -> Iterator[None]:
    """Pass the records from a level on to a handler, until the block ends."""
    logger, before = log.logger, log.logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


_SHOWN: Final = 8
"""Characters of a token that the log shows, where nothing depends on the whole of it."""


def is_logged() -> bool:
    """Return whether every request is logged."""
    return log.logger.isEnabledFor(logging.DEBUG)


def short_token(token: str) -> str:
    """Return the first characters of a token, enough to recognise it."""
    return token if len(token) <= _SHOWN else f"{token[:_SHOWN]}…"


def subject(operation: str, token: str | None) -> str:
    """Return what a record is about, as the beginning of its message."""
    return operation if token is None else f"{operation} of rental {short_token(token)}"


def log_fields(operation: str, token: str | None, **more: Any) -> dict[str, Any]:
    """Return the `extra` of a log record."""
    shown = None if token is None else short_token(token)
    return {"operation": operation, "token": shown, **more}
