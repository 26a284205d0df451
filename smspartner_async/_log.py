"""What all log records of this package have in common: a logger, and fields for structured logs."""

from __future__ import annotations

import logging
import traceback
from typing import Any, Final


class _Unfailing(logging.LoggerAdapter[logging.Logger]):
    """A logger that never raises, whatever the application's filters and record factory do.

    A rental may just have been paid, or be under way: that is worth more than a line of the log.
    """

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log; what goes wrong is written to stderr, as logging does with handlers that fail."""
        try:
            self.logger.log(level, msg, *args, stacklevel=2, **kwargs)
        except Exception:  # noqa: BLE001 - as said above
            if logging.raiseExceptions:
                traceback.print_exc()


log: Final = _Unfailing(logging.getLogger(__package__))

_SHOWN: Final = 8
"""Characters of a token that the log shows, where nothing depends on the whole of it."""


def is_logged() -> bool:
    """Whether the log is to tell of every request."""
    return log.isEnabledFor(logging.DEBUG)


def shortened(token: str) -> str:
    """Show enough of a token to know it again."""
    return token if len(token) <= _SHOWN else f"{token[:_SHOWN]}…"


def fields(operation: str, token: str | None, **more: Any) -> dict[str, Any]:
    """Make the `extra` of a record."""
    shown = None if token is None else shortened(token)
    return {"operation": operation, "token": shown, **more}
