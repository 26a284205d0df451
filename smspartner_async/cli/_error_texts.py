"""What an error says in the terms of the command line, where its message is for a program.

Knows the errors and the options; writes nothing.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from smspartner_async._error_codes import CODE_ADVICE
from smspartner_async._errors import (
    DownloadInterruptedError,
    FileNotReadyError,
    PriceExceededError,
    RentalFailedError,
    RentOutcomeUnknownError,
    ResponseError,
    TargetingError,
    TransportError,
    WaitTimeoutError,
)
from smspartner_async._models import RentalState
from smspartner_async._operations.disk_errors import OVERWRITE_ADVICE
from smspartner_async._validation import KEY_ADVICE, KEY_VARIABLE, RENT_ADVICE
from smspartner_async.batch._job_file import JobFileError

from ._formats import beginning, state_name

if TYPE_CHECKING:
    from collections.abc import Iterator

_LISTED: Final = 20  # problems of a file of jobs
_ADVICE: Final = {  # for a program: for the command, where the former names what a program calls
    KEY_ADVICE: f"Set {KEY_VARIABLE} in the environment.",
    RENT_ADVICE: "give the token that `smspartner rent` printed",
    OVERWRITE_ADVICE: "give --overwrite to replace it.",
    CODE_ADVICE[33]: "It may not be made yet: `smspartner wait` ends when it can be downloaded.",
    FileNotReadyError.advice: "Wait with `smspartner wait`, and try again.",
    ", or set max_requests_per_minute": "",
    TransportError.advice: "Check the network, --base-url and any proxy, then try again.",
    ResponseError.advice: "Check --base-url and any proxy in between, then try again.",
    RentOutcomeUnknownError.advice: (
        "Before you rent again, compare `smspartner credits` with the balance from before, or "
        "look for the rental in the vendor's web interface."
    ),
    PriceExceededError.advice: "Raise the limit or ask for fewer contacts.",
    RentalFailedError.advice: (
        "Compare `smspartner credits` and ask the vendor's support, naming the token."
    ),
    WaitTimeoutError.advice: "Wait again with `smspartner wait` and the same token.",
    DownloadInterruptedError.advice: (
        "Try `smspartner download` again; if the vendor says that the file was downloaded before, "
        "ask its support."
    ),
}


def advice_to_type(text: str) -> str:
    """Return a text of the client, such as a store's, with the command's advice in its place."""
    for advice, typed in _ADVICE.items():
        text = text.replace(advice, typed)
    return text


def explained(error: BaseException) -> Iterator[str]:
    """Say in the terms of the command line what an error says in those of the client."""
    match error:
        case TargetingError():
            yield "this targeting cannot be sent."
            for field, problem in error.problems:
                # The options that may be repeated are named in the singular.
                yield f"--{field.removesuffix('s').replace('_', '-')}: {problem}"
        case JobFileError():
            yield f"{str(error).partition(' nothing was sent.')[0]} nothing was sent."
            problems, more = beginning(error.problems, _LISTED)
            for line, column, problem in problems:
                yield f"line {line}{', ' * bool(column)}{column}: {problem}"
            if more:
                yield more
        case WaitTimeoutError():
            state = RentalState.UNKNOWN if error.last_status is None else error.last_status.state
            yield error.problem.replace(state.name, state_name(state))
            yield f"Nothing is lost; wait again with: smspartner wait {shlex.quote(error.token)}"
        case RentOutcomeUnknownError():
            yield error.problem
            if error.seen_token is not None:
                seen = shlex.quote(error.seen_token)
                yield f"Its reply held what may be its token. Check: smspartner status {seen}"
                return
            yield "Check first: is the balance lower (smspartner credits)?"
            yield "Check too: does the vendor's web interface show a rental of that time?"
        case OSError() if error.strerror:
            where = f": {error.filename}" if error.filename else ""
            yield f"{error.strerror}{where}"
        case _:
            yield advice_to_type(str(error)) or type(error).__name__
