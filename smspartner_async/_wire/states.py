"""Read the state of a status, which the vendor sends as a code or as a sentence. Pure.

The manual's page "Rental Status" has a table of codes, and a sample with a sentence instead.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from smspartner_async._models import RentalState
from smspartner_async._redaction import redacted_line

from .reply import as_integer

if TYPE_CHECKING:
    from decimal import Decimal

_LONGEST_SENTENCE: Final = 200
_COMPARED: Final = 1_000
"""Characters of a text that are compared: NFKD makes up to 18 of each, which takes memory."""
_UNKNOWN: Final = RentalState.UNKNOWN
_STATE_WORDS: Final = {
    RentalState.REQUESTED: "The rental was requested",
    RentalState.GENERATING: "The file is being generated",
    RentalState.READY: "The file is ready",
    RentalState.FAILED: "The rental failed",
    RentalState.DOWNLOADED: "The file was downloaded",
    RentalState.UNKNOWN: "The state is not one that the manual lists",
}


def normalized(text: str) -> str:
    """Return the beginning of a text without case, accents, spacing and punctuation."""
    text = unicodedata.normalize("NFKD", text[:_COMPARED])
    return "".join(c for c in text.casefold() if c.isalnum())


# The manual's sentences. Compared by their beginnings, since the manual cuts one of them short.
_SENTENCES: Final = {
    normalized(sentence): state
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
    """Return the state that a status means, and its words; one that is not listed is `UNKNOWN`."""
    # Not a Decimal: 0 and 0e9999999, which is too long to be a code, are equal as keys of a cache.
    if isinstance(said, int) or (isinstance(said, str) and len(said) <= _LONGEST_SENTENCE):
        return _read_state(said, secret)
    return _read_state.__wrapped__(said, secret)


@lru_cache(maxsize=64)  # a vendor has few sentences
def _read_state(said: int | Decimal | str, secret: str) -> tuple[RentalState, str]:
    state = _state(said)
    sentence = isinstance(said, str) and not said.strip().isdecimal()
    return state, redacted_line(str(said), secret) if sentence else _STATE_WORDS[state]


def _state(said: int | Decimal | str) -> RentalState:
    """Read a state from a code, a code as text, or one of the manual's sentences."""
    try:
        return RentalState(as_integer(said))
    except ValueError:
        words = normalized(str(said))
    return next((state for known, state in _SENTENCES.items() if words.startswith(known)), _UNKNOWN)
