"""Listens wherever a secret could slip out: logs, warnings, errors with all that hangs on them."""

import asyncio
import gc
import html
import json
import logging
import pickle
import re
import traceback
import warnings
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, quote_plus

from attrs import define, field

# Most spellings of the key keep its last part as it is, so that one is looked for as well.
KEY = "k€y+/=%5ecretPart"
NUMBERS = ("0612345678", "+33 6 98 76 54 32")


def _echoes(secret: str) -> set[str]:
    """Ways in which a server writes back what it was sent: as it is, or escaped once."""
    found = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), html.escape(secret)}
    found |= {re.sub("%..", lambda escape: escape[0].lower(), spelling) for spelling in found}
    found.add(json.dumps(secret)[1:-1])
    return found | {spelling.replace("/", r"\/") for spelling in found}


ECHOES = _echoes(KEY)
PROXY_USER, PROXY_PASSWORD = "pr0xyUser", "pr0xyPa55"
_PROOF = b64encode(f"{PROXY_USER}:{PROXY_PASSWORD}".encode()).decode()
SPELLINGS = (
    {PROXY_USER, PROXY_PASSWORD, _PROOF}
    | ECHOES
    | {repr(echo.encode())[2:-1] for echo in ECHOES}
    | {"5ecretPart"}
)
_DIGITS = ("612345678", "698765432")


def slips(text: str) -> list[str]:
    """What of the key and the numbers, in whatever spelling, stands in a text."""
    found = [spelling for spelling in SPELLINGS if spelling in text]
    bare = re.sub(r"[\s.\-()/]|%20|\\u00a0|&nbsp;", "", text)
    return found + [digits for digits in _DIGITS if digits in bare]


def everything_of(error: BaseException) -> Iterator[str]:
    """All texts of an error and of every error chained to it, suppressed or not."""
    yield "".join(traceback.format_exception(error))
    yield pickle.dumps(error).decode("utf-8", "replace")
    todo: list[BaseException | None] = [error]
    seen: set[int] = set()
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield from (str(one), repr(one), repr(one.args), repr(vars(one)))
        todo += [one.__cause__, one.__context__]
        todo += [value for value in vars(one).values() if isinstance(value, BaseException)]
        if isinstance(one, BaseExceptionGroup):
            todo += one.exceptions


@define(eq=False)
class Eavesdropper(logging.Handler):
    """Keeps every log record in all its parts, formatted and not."""

    heard: list[str] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        super().__init__(logging.DEBUG)

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(self.format(record))
        self.heard.append(repr(vars(record)))
        if record.exc_info is not None and record.exc_info[1] is not None:
            self.heard += everything_of(record.exc_info[1])

    def hear(self, error: BaseException) -> None:
        self.heard += everything_of(error)

    def slips(self) -> list[str]:
        """The heard texts in which a secret stands."""
        return [f"{found} in {text}" for text in self.heard if (found := slips(text))]


@contextmanager
def eavesdropping(*, debug: bool = False) -> Iterator[Eavesdropper]:
    """Listen to every logger and warning; with `debug`, asyncio logs every step it takes."""
    ear = Eavesdropper()
    root = logging.getLogger()
    level = root.level
    loop = asyncio.get_running_loop()
    if debug:
        loop.set_debug(True)
        loop.slow_callback_duration = 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        root.addHandler(ear)
        root.setLevel(logging.DEBUG)
        try:
            yield ear
            gc.collect()
        finally:
            root.setLevel(level)
            root.removeHandler(ear)
            loop.set_debug(False)
    ear.heard += [str(warning) for warning in caught]
