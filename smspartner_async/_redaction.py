"""Take API keys and phone numbers out of texts for messages and the log. Pure."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any, Final, TypeVar, cast

from attrs import evolve, fields, has

_T = TypeVar("_T")

# Eight digits and more, with the usual marks between them; the range is that of dashes. Without
# backtracking, which would take 150 times the memory of a text of digits.
_PHONE_NUMBER: Final = r"\+?\d(?:[\s.\-\u2010-\u2015()/_]{0,3}+\d){7,}+"

_SHOWN: Final = 200
"""Characters of a foreign text that an error shows."""
_LOOKED_AT: Final = 10_000
"""Characters of a foreign text that are cleaned: a long one would hold the event loop."""
_SHORTEST_PART: Final = 4
"""Characters at the beginning of a secret that are taken for a part of it."""
_LONGEST_WORD: Final = 5
"""Characters of a post code or a currency. A secret so short, as tests have it, is in no danger."""
_LONGEST_SPELLING: Final = 20
"""Characters that one of a secret's may take, escaped more than once."""


def without_numbers(text: str) -> str:
    """Return a text with each phone number replaced by `[number]`."""
    return re.sub(_PHONE_NUMBER, "[number]", text)


def repr_without_numbers(value: object) -> str:
    """Return the `repr` of a wrong value, with `[number]` in place of each phone number."""
    return without_numbers(repr(value))


def redact(secret: str, text: str) -> str:
    """Return a text without a secret, in whatever spelling it stands there."""
    return _any_spelling(secret).sub("[API key]", text)


def redact_texts(secret: str, value: _T) -> _T:
    """Return a model, or a tuple of models or texts, without a secret in the texts it shows."""
    redacted: Any = value
    model: Any = type(value)
    if isinstance(value, str):
        if len(value) >= len(secret) > _LONGEST_WORD:
            redacted = redact(secret, value)
    elif isinstance(value, tuple):
        redacted = tuple(redact_texts(secret, one) for one in value)
    elif has(model):
        names = [one.name for one in fields(model) if one.repr]
        redacted = evolve(
            redacted, **{name: redact_texts(secret, getattr(value, name)) for name in names}
        )
    return cast("_T", redacted)


def redacted_line(text: str, secret: str) -> str:
    """Return one short printable line of a foreign text, without the secret and phone numbers."""
    beginning = text[:_LOOKED_AT]
    # What has no width goes before anything is searched for: it could hide the rest.
    seen = (" " if c.isspace() else c if c.isprintable() else "" for c in beginning)
    line = " ".join("".join(seen).split())
    if len(text) > _LOOKED_AT:
        # A part of the secret or of a number may stand at the cut.
        line = f"{line[: -_LONGEST_SPELLING * len(secret) - _SHOWN]}…"
    line = _without_cut(secret, without_numbers(redact(secret, line)))
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


def _without_cut(secret: str, line: str) -> str:
    """Return a line without the beginning of a secret at its end: a reply may be cut within it."""
    for length in range(len(secret) - 1, _SHORTEST_PART - 1, -1):
        if line.lower().endswith(secret[:length].lower()):
            return f"{line[:-length]}[API key]"
    return line


def excerpt(body: bytes, secret: str) -> str:
    """Return the beginning of an unexpected body as one line, with nothing secret in it."""
    # A character takes up to four bytes; one more, so that a longer text is seen to be longer.
    beginning = body[: 4 * _LOOKED_AT + 4]
    return redacted_line(beginning.decode("utf-8-sig", "replace"), secret)


@lru_cache(maxsize=8)
def _any_spelling(secret: str) -> re.Pattern[str]:
    """Match a secret in either case, with any of its characters escaped for URL, JSON or HTML."""
    import html  # noqa: PLC0415 - few ever get here, and importing it takes its time
    from html.entities import codepoint2name  # noqa: PLC0415 - for the same reason

    characters = (
        {
            c,
            f"\\{c}",
            f"\\u{ord(c):04x}",
            json.dumps(c)[1:-1],
            "".join(f"%{byte:02x}" for byte in c.encode()),
            f"&#{ord(c)};",
            f"&#x{ord(c):x};",
            f"&{codepoint2name.get(ord(c), '')};",
            html.escape(c),
        }
        for c in re.sub(r"\\+", r"\\", secret)
    )
    first, *others = (f"(?:{'|'.join(map(re.escape, sorted(forms)))})" for forms in characters)
    # An escape may be escaped once more, and again. All backslashes in a row are matched at once,
    # from the first one on: to try each number of them would hold the event loop for minutes.
    first = first.replace(r"\\", r"(?<!\\)\\++")
    pattern = first + "".join(others).replace(r"\\", r"(?:\\++|(?<=\\))")
    return re.compile(pattern.replace("%", "%(?:25)*"), re.IGNORECASE)
