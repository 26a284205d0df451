"""Package, tests and READMEs use the field's terms: no word that needs a glossary.

The words of a function's name count as a sentence, since those of a test are one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pytest
from paths import PACKAGE, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WORDS: Final = {
    r"(?<![.\w-])(?:tells?|told|telling)\b": "call, notify, report, log, say, return, raise",
    r"\berrands?\b": "a pending write",
    r"\bdesks?\b": "the context of a worker",
    r"\bnaps?\b": "a sleep",
    r"\b(?:go|goes|going|gone|went) on\b": "continue, or the thing that happens next",
    r"\bseen through\b|\bsees? (?:\w+ ){1,3}through\b": "run to its end, or allowed to finish",
    r"\bthe one that\b": "the name of the thing",
    r"\bof (?:its|their|our|your) own\b": "separate, new, or its own …",
    r"\b(?:as|see) above\b": "what it says above: a tooltip shows one docstring alone",
    r"\bnudges?d?\b": "wake, or a notification",
    r"\blast looks?\b|\blooks? (?:once|a last time)\b": "a check",
    r'"""[A-Z][a-z]*(?: [a-z]+)*, \d[\d, -]*:': "the sentence without the number of a section",
    r"\bridden out\b|\brid(?:es?|ing) out\b": "passing errors do not end it",
}
QUOTED: Final = {  # file: the only places where such a word stands, and why
    "tests/package/test_words.py": "the list itself",
}
_MARGIN: Final = r"\s*\n[ \t]*(?:# ?|> ?)?"
_NAME: Final = r"^[ \t]*(?:async )?def _?(\w+)"


def texts() -> Iterator[tuple[str, str]]:
    """Each file's path below the root, with the lines of its text joined."""
    for folder in (PACKAGE, ROOT / "tests", ROOT / "benchmarks"):
        for file in sorted((*folder.rglob("*.py"), *folder.rglob("*.md"))):
            yield _named(file), _joined(file.read_text("utf-8"))
    yield "README.md", _joined((ROOT / "README.md").read_text("utf-8"))


def _named(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def _joined(text: str) -> str:
    names = (name.replace("_", " ") for name in re.findall(_NAME, text, re.MULTILINE))
    return re.sub(_MARGIN, " ", "\n".join([text, *names]))


def found_in(text: str) -> list[str]:
    """Each such word with what stands around it, and what to write in its place."""
    return [
        f"…{text[max(match.start() - 40, 0) : match.end() + 30]}…: write {instead}"
        for pattern, instead in WORDS.items()
        for match in re.finditer(pattern, text, re.IGNORECASE)
    ]


def test_plain_words() -> None:
    """Names and sentences need no glossary: what a line should say instead stands behind it."""
    found = {name: found_in(text) for name, text in texts() if name not in QUOTED}
    assert {name: words for name, words in found.items() if words} == {}


@pytest.mark.parametrize(
    "sentence",
    [
        "on_poll is told of every check.",
        "It tells\n    # how much came.",
        "The wait goes\n> on.",
        "A rent that is seen through.",
        "It sees a paid rent through.",
        "a task of\nits own",
        "retry: as above.",
        "a nudge",
        "its last look",
        'def test(): """A poll, 2: it ends."""',
        "async def test_a_wait_goes_on() -> None:",
    ],
)
def test_a_word_is_found_over_a_line_break(sentence: str) -> None:
    """Also where a comment or a quotation breaks it, and in a name."""
    assert len(found_in(_joined(sentence))) == 1


@pytest.mark.parametrize("sentence", ["position = file.tell()", "its own folder", "above 5 %"])
def test_a_word_that_is_meant_otherwise(sentence: str) -> None:
    """A method of Python's, and words that stand for what they say."""
    assert found_in(sentence) == []
