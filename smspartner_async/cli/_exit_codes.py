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


MONEY: Final = {
    ExitCode.FAILED: "Nothing is paid without its file, and nothing is in doubt.",
    ExitCode.USAGE: "Nothing was sent, and nothing was charged.",
    ExitCode.PAID_WITHOUT_FILE: "The rental is paid, and its file is not here yet.",
    ExitCode.MAYBE_PAID: "Contacts may have been paid for: check before you rent them again.",
    ExitCode.INTERRUPTED: "Nothing is paid without its file, and nothing is in doubt.",
}
"""What each means for the money, in a sentence."""


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
