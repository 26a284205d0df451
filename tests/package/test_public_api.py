"""The public names and signatures are written down, and no change of them goes unnamed."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import house
import pytest
from public_api import CHANGELOG, SNAPSHOT, compared, current, public_api, released, unnamed

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """
from attrs import field, frozen

__all__ = ["Parcel", "send"]


@frozen(kw_only=True)
class Parcel:
    weight: float = field(default=1.0)
    _secret: int = 0
    _postage: int = field(default=1, alias="postage")

    def label(self, size: int = 1) -> str: ...


async def send(parcel: Parcel) -> None: ...


def inner() -> None: ...
"""
RELEASED = [
    "post.Parcel: class @frozen(kw_only=True)",
    "post.Parcel.label: def label(size: int = 1) -> str",
    "post.Parcel.postage: argument int = 1",
    "post.Parcel.weight: float = 1.0",
    "post.send: async def send(parcel: Parcel) -> None",
]


def api_of(source: str, folder: Path) -> list[str]:
    (folder / "post").mkdir(exist_ok=True)
    (folder / "post" / "__init__.py").write_text(source, "utf-8")
    return public_api("post", folder)


def test_the_public_names_and_signatures_are_those_that_are_written_down() -> None:
    """A public name or signature changes only together with tests/public_api.txt."""
    now = public_api()
    snapshot = SNAPSHOT.read_text("utf-8")
    assert now == current(snapshot), (
        "The public names or signatures have changed. Was that meant? Then run "
        "`python tests/support/public_api.py`, and name what has changed in CHANGELOG.md."
    )
    assert snapshot == compared(released(snapshot), now)


def test_every_name_in_a_public_signature_can_be_imported() -> None:
    """Whoever annotates code around this package needs no private module for it."""
    classes = {
        node.name
        for file in house.modules().values()
        for node in ast.parse(file.read_text("utf-8")).body
        if isinstance(node, ast.ClassDef)
    }
    lines = [line for line in public_api() if ": class" not in line]
    used = {word for line in lines for word in re.findall(r"\w+", line.partition(": ")[2])}
    public = {line.partition(": ")[0].rpartition(".")[2] for line in public_api()}
    assert "HasToken" in used & classes
    assert used & classes - public == set()


def test_the_changelog_names_whatever_has_changed_since_the_last_release() -> None:
    """What is new, changed or gone stands by its name in CHANGELOG.md, under [Unreleased]."""
    missing = unnamed(SNAPSHOT.read_text("utf-8"), CHANGELOG.read_text("utf-8"))
    assert missing == [], "Name these, in backticks, in CHANGELOG.md under [Unreleased]."


def test_what_is_public_is_read_from_the_source(tmp_path: Path) -> None:
    """The list holds what is in `__all__`, with its public members, and nothing else."""
    assert api_of(SOURCE, tmp_path) == RELEASED


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("size: int = 1", "size: int = 2", "post.Parcel.label"),
        ("size: int = 1", "*, size: int = 1", "post.Parcel.label"),
        ("-> str", "-> bytes", "post.Parcel.label"),
        ("def label", "def _label", "post.Parcel.label"),
        ("default=1.0", "default=2.0", "post.Parcel.weight"),
        ("weight: float", "mass: float", "post.Parcel.mass"),
        ('alias="postage"', 'alias="fee"', "post.Parcel.fee"),
        ("field(default=1, ", "field(default=2, ", "post.Parcel.postage"),
        ("kw_only=True", "", "post.Parcel"),
        ("class Parcel", "class Parcel(Exception)", "post.Parcel"),
        ("async def send", "def send", "post.send"),
        ('"send"]', '"send", "inner"]', "post.inner"),
        ('"Parcel", ', "", "post.Parcel"),
    ],
)
def test_any_change_must_be_missing(old: str, new: str, path: str, tmp_path: Path) -> None:
    """A default, a name, a type, a base class: nothing of it changes unseen and unnamed."""
    changed = SOURCE.replace(old, new)
    assert changed != SOURCE
    snapshot = compared(RELEASED, api_of(changed, tmp_path))
    assert released(snapshot) == RELEASED
    assert path in unnamed(
        snapshot, "## [Unreleased]\n\nParcel, label, and send.\n\n## [1.0]\n`inner`"
    )
    name = path.rpartition(".")[2]
    assert path not in unnamed(snapshot, f"## [Unreleased]\n\n### Changed\n\n- `Parcel.{name}`.")


def test_a_new_class_is_missing_without_its_members() -> None:
    """Naming a class that is new, or gone, is enough; its constructor goes by its name anyway."""
    new = ["post.Box: class", "post.Box.__init__: def __init__() -> None", "post.Box.lid: bool"]
    assert unnamed(compared([], new), "## [Unreleased]\n`Box`\n") == []
    assert unnamed(compared(new, []), "## [Unreleased]\n") == ["post.Box"]
    other = [new[0], new[1].replace("()", "(lid: bool)"), new[2]]
    assert unnamed(compared(new, other), "## [Unreleased]\n") == ["post.Box.__init__"]
    assert unnamed(compared(new, other), "## [Unreleased]\n`Box(lid=True)`\n") == []


def test_a_release_takes_the_marks_away() -> None:
    """Once the present is the last release, nothing is left to name."""
    snapshot = compared(RELEASED, RELEASED)
    assert {line[:2] for line in snapshot.splitlines()} == {"  "}
    assert unnamed(snapshot, "") == []
