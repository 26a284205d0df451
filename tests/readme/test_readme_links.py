"""The READMEs lead where they say: their links, proofs, badges, tables of versions."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

import pytest
from badges import badges, facts
from paths import READMES, ROOT, TESTS

if TYPE_CHECKING:
    from pathlib import Path

README = (ROOT / "README.md").read_text("utf-8")
BLOCK = re.compile(r"^```(\w+)\n.*?^```$", re.MULTILINE | re.DOTALL)
ALL = {str(readme.relative_to(ROOT)): readme for readme in READMES}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def anchor(heading: str) -> str:
    """What a Markdown viewer makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def prose(readme: Path) -> str:
    """A README without its blocks."""
    return BLOCK.sub("", readme.read_text("utf-8"))


def links(readme: Path) -> list[tuple[str, str]]:
    """The links of a README: their text, and where they lead."""
    return re.findall(r"\[([^\]\[]*)\]\(([^)\s]+)\)", prose(readme))


def headings(readme: Path) -> list[tuple[str, str]]:
    """The headings of a README: their level as `##`, and their text."""
    return re.findall(r"^(#+) (.+)$", prose(readme), re.MULTILINE)


def anchors(readme: Path) -> list[str]:
    """The anchors of a README's headings."""
    return [anchor(text) for _, text in headings(readme)]


def test_all_readmes_are_looked_at() -> None:
    """No README in the repository is left out of these tests."""
    found = {
        path for part in (ROOT / "smspartner_async", TESTS) for path in part.rglob("README.md")
    }
    found |= {ROOT / "README.md", *(ROOT / "benchmarks").rglob("README.md")}
    assert found == set(READMES)


@pytest.mark.parametrize("readme", ALL.values(), ids=ALL.keys())
def test_no_two_headings_have_one_anchor(readme: Path) -> None:
    """A link to a heading leads to that heading, in every viewer."""
    assert len(set(anchors(readme))) == len(anchors(readme))


@pytest.mark.parametrize("readme", ALL.values(), ids=ALL.keys())
def test_every_link_leads_somewhere(readme: Path) -> None:
    """An anchor is a heading's, a path is a file's, and all else is https."""
    for text, target in links(readme):
        path, _, heading = target.partition("#")
        if not target.startswith("https://"):
            file = (readme.parent / path).resolve() if path else readme
            assert file.is_file(), f"[{text}]({target})"
            assert not heading or heading in anchors(file), f"[{text}]({target})"


def test_every_readme_is_found_from_the_front_door() -> None:
    """The front door links to each of the others."""
    linked = {
        (ROOT / target.partition("#")[0]).resolve() for _, target in links(ROOT / "README.md")
    }
    assert set(READMES) - linked <= {ROOT / "README.md"}


def test_every_test_that_is_named_as_a_proof_is_there() -> None:
    """A promise that names a test names one of the file that it links to."""
    proofs = [(text, target) for text, target in links(TESTS / "README.md") if "test_" in text]
    assert len(proofs) > 20
    for name, path in proofs:
        source = (TESTS / path).read_text("utf-8")
        assert re.search(rf"^(async )?def {name}\(", source, re.MULTILINE), f"{path}: {name}"


def test_every_promise_has_its_proof() -> None:
    """Each row of the table of promises links to a test."""
    table = (
        (TESTS / "README.md")
        .read_text("utf-8")
        .partition("| promised | not promised |")[2]
        .partition("\n\n")[0]
    )
    rows = table.splitlines()[2:]
    assert len(rows) > 5
    assert all("](" in row.rsplit("|", 2)[1] for row in rows)


def test_every_block_is_of_a_kind_that_some_test_runs() -> None:
    """Python, commands with their jobs, and a page are run; what is left is drawings."""
    every = "\n".join(readme.read_text("utf-8") for readme in READMES)
    assert set(BLOCK.findall(every)) == {"python", "bash", "csv", "html", "text"}
    opened = re.findall(r"^ *```", every, re.MULTILINE)
    assert len(opened) == 2 * len(BLOCK.findall(every))


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


def test_every_extra_is_listed() -> None:
    """A newcomer reads which extras there are, next to the commands that install some."""
    listed = README.partition("Extras are ")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == set(PROJECT["optional-dependencies"])
