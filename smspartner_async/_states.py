"""What a status says, as a state and in words. Pure.

The manual's page "Rental Status" has a table of codes, and a sample that shows a sentence instead.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from ._models import RentalState
from ._reply import as_integer, clean

if TYPE_CHECKING:
    from decimal import Decimal

_LONGEST_SENTENCE: Final = 200
_UNKNOWN: Final = RentalState.UNKNOWN
_STATE_WORDS: Final = {
    RentalState.REQUESTED: "The rental was requested",
    RentalState.GENERATING: "The file is being generated",
    RentalState.READY: "The file is ready",
    RentalState.FAILED: "The rental failed",
    RentalState.DOWNLOADED: "The file was downloaded",
    RentalState.UNKNOWN: "The state is not one that the manual lists",
}


def letters(text: str) -> str:
    """Keep what tells sentences apart: no case, accents, spacing or punctuation."""
    return "".join(c for c in unicodedata.normalize("NFKD", text).casefold() if c.isalnum())


# A status's `status` is sometimes the code and sometimes a sentence; these stand in the manual.
# Compared by their beginnings, since the manual itself cuts one short.
_SENTENCES: Final = {
    letters(sentence): state
    for state, sentences in {
        RentalState.REQUESTED: (
            "The rental request has been made",
            "The rental application was made",
        ),
        RentalState.GENERATING: ("File is being generated", "The file is being created"),
        RentalState.READY: ("File is ready", "The creation of the file is completed"),
        RentalState.FAILED: ("The rental request failed",),
        RentalState.DOWNLOADED: (
            "File has already been downloaded",
            "The file has been downloaded",
            "File downloaded by user from api",
        ),
    }.items()
    for sentence in sentences
}


def read_state(said: int | Decimal | str, secret: str) -> tuple[RentalState, str]:
    """Tell the state that a status means, and its words; one that is not listed is `UNKNOWN`."""
    if isinstance(said, str) and len(said) > _LONGEST_SENTENCE:
        return _read_state.__wrapped__(said, secret)
    return _read_state(said, secret)


@lru_cache(maxsize=64)  # a vendor has few sentences
def _read_state(said: int | Decimal | str, secret: str) -> tuple[RentalState, str]:
    state = _state(said)
    sentence = isinstance(said, str) and not said.strip().isdecimal()
    return state, clean(str(said), secret) if sentence else _STATE_WORDS[state]


def _state(said: int | Decimal | str) -> RentalState:
    """Read a state from a code, a code as text, or one of the manual's sentences."""
    try:
        return RentalState(as_integer(said))
    except ValueError:
        words = letters(str(said))
    return next((state for known, state in _SENTENCES.items() if words.startswith(known)), _UNKNOWN)
