"""README leads where it says: its links, its proofs, its badges, its tables of versions."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from badges import badges, facts

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BLOCK = re.compile(r"^```(\w+)\n.*?^```$", re.MULTILINE | re.DOTALL)
PROSE = BLOCK.sub("", README)
LINKS = re.findall(r"\[([^\]\[]*)\]\(([^)\s]+)\)", PROSE)
HEADINGS = re.findall(r"^(#+) (.+)$", PROSE, re.MULTILINE)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def anchor(heading: str) -> str:
    """What a Markdown viewer makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


ANCHORS = [anchor(text) for _, text in HEADINGS]


def test_no_two_headings_have_one_anchor() -> None:
    """A link to a heading leads to that heading, in every viewer."""
    assert len(set(ANCHORS)) == len(ANCHORS)


def test_every_link_leads_somewhere() -> None:
    """An anchor is a heading's, a path is a file's, and all else is https."""
    assert len(LINKS) > 50
    for text, target in LINKS:
        if target.startswith("#"):
            assert target[1:] in ANCHORS, f"[{text}]({target})"
        elif not target.startswith("https://"):
            assert (ROOT / target).is_file(), f"[{text}]({target})"


def test_every_test_that_is_named_as_a_proof_is_there() -> None:
    """A promise that names a test names one of the file that it links to."""
    proofs = [(text, target) for text, target in LINKS if text.startswith("test_")]
    assert len(proofs) > 20
    for name, path in proofs:
        source = (ROOT / path).read_text("utf-8")
        assert re.search(rf"^(async )?def {name}\(", source, re.MULTILINE), f"{path}: {name}"


def test_every_promise_has_its_proof() -> None:
    """Each row of the table of promises links to a test."""
    table = README.partition("| promised | not promised |")[2].partition("\n\n")[0]
    rows = table.splitlines()[2:]
    assert len(rows) > 5
    assert all("](tests/" in row.rsplit("|", 2)[1] for row in rows)


def test_the_contents_lead_to_every_section() -> None:
    """A newcomer finds each section from the questions at the top, which fit on one screen."""
    contents = README.partition("\n## How do I …\n")[2].partition("\n## ")[0]
    assert contents.count("\n") <= 40
    for level, heading in HEADINGS:
        if level == "##" and heading != "How do I …":
            assert f"(#{anchor(heading)})" in contents, heading


def test_every_block_is_of_a_kind_that_some_test_runs() -> None:
    """Python, commands with their jobs, and a page are run; what is left is drawings."""
    assert set(BLOCK.findall(README)) == {"python", "bash", "csv", "html", "text"}
    opened = re.findall(r"^ *```", README, re.MULTILINE)
    assert len(opened) == 2 * len(BLOCK.findall(README))


def test_the_badges_say_what_pyproject_says() -> None:
    """They are those that `python tests/badges.py` draws, and README shows each of them."""
    for path, drawn in badges().items():
        assert path.read_text("utf-8") == drawn, "Run `python tests/badges.py`."
    for name, value in facts().items():
        assert f"![{name}: {value}](.assets/badge-{name}.svg)" in README


@pytest.mark.parametrize("extra", [None, "cli", "durable"])
def test_the_oldest_versions_are_those_of_pyproject(extra: str | None) -> None:
    """The table of versions repeats the bounds that the oldest tested versions come from."""
    lines = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    for line in lines:
        name, _, rest = line.partition(">=")
        assert re.search(rf"\b{name} {re.escape(rest.partition(',')[0])}\b", README), line


def test_the_versions_of_python_are_those_of_pyproject() -> None:
    """README asks for the Python that pyproject.toml asks for."""
    assert f"Python {PROJECT['requires-python'].removeprefix('>=')} or newer" in README


def test_every_extra_is_told() -> None:
    """A newcomer reads which extras there are, next to the commands that install some."""
    told = README.partition("Extras are ")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", told)) == set(PROJECT["optional-dependencies"])
