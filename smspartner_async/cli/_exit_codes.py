"""The exit codes of the command, and which error ends with which."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from smspartner_async._errors import RentalNotFoundError, RentOutcomeUnknownError


class ExitCode(IntEnum):
    """How a command ended, the gravest last. Of several that fit, it is the gravest."""

    SUCCESS = 0
    FAILED = 1
    """Something failed; nothing is paid without a file, and nothing is in doubt."""
    USAGE = 2
    """The command line is wrong. Nothing was sent."""
    INTERRUPTED = 130
    """By Ctrl-C, or by any other signal."""
    PAID_WITHOUT_FILE = 3
    MAYBE_PAID = 4
    """A rent was sent, and whether it was charged is not known."""


_NOTHING_OPEN: Final = (
    "This command has paid for nothing without its file, and left nothing in doubt."
)
MONEY: Final = {
    ExitCode.FAILED: _NOTHING_OPEN,
    ExitCode.USAGE: "Nothing was sent, and nothing was charged.",
    ExitCode.PAID_WITHOUT_FILE: "The rental is paid, and its file is not here yet.",
    ExitCode.MAYBE_PAID: "Contacts may have been paid for: check before you rent them again.",
    ExitCode.INTERRUPTED: _NOTHING_OPEN,
}
"""What each means for the money, in a sentence."""


def money_of(error: BaseException, code: ExitCode) -> str:
    """Return what an error that has ended a command means for the money.

    A store that cannot be read has jobs whose money nobody knows at that moment.
    """
    unknown = getattr(error, "_money", None) if code is ExitCode.FAILED else None
    return unknown or MONEY[code]


def gravest(*codes: ExitCode) -> ExitCode:
    """Return the code that says most about the money: 4, 3, 130, 2, 1, 0."""
    return max(codes, key=[*ExitCode].index)


def exit_code_of(error: BaseException, token: str | None = None) -> ExitCode:
    """Return the exit code of a command that an error has ended.

    `token` is that of a paid rental, where the command knows one whose file is not here.
    """
    if isinstance(error, RentOutcomeUnknownError):
        return ExitCode.MAYBE_PAID
    if (token or getattr(error, "token", None)) and not isinstance(error, RentalNotFoundError):
        return ExitCode.PAID_WITHOUT_FILE
    return getattr(error, "exit_code", ExitCode.FAILED)
