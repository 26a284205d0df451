"""The public names and signatures as text, and how they differ from the last release.

`public_api.txt` lists them, one a line: "+" marks what is new since the last release, "-" what is
gone; what has changed stands there twice. Read from the source, so no extra needs to be installed.

    python tests/support/public_api.py             writes it anew, after a change
    python tests/support/public_api.py --release   takes the marks away, when a version is released
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Final

import griffe
from paths import ROOT, TESTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SNAPSHOT: Final = TESTS / "public_api.txt"
CHANGELOG: Final = ROOT / "CHANGELOG.md"
_SPECIAL: Final = ("__init__", "__call__", "__aenter__", "__aiter__")


def public_api(package: str = "smspartner_async", root: Path = ROOT) -> list[str]:
    """Describe what is in `__all__` of each public module, and its public members."""
    top = griffe.load(package, search_paths=[root])
    assert isinstance(top, griffe.Module)
    found: list[str] = []
    for module in _modules(top):
        for name in module.exports or ():
            found += _described(f"{module.path}.{name}", module.members[str(name)])
    return sorted(found, key=_path)


def _modules(module: griffe.Module) -> Iterator[griffe.Module]:
    yield module
    for inner in module.modules.values():
        if not inner.name.startswith("_") and not inner.is_alias:
            yield from _modules(inner)


def _described(path: str, thing: griffe.Object | griffe.Alias) -> Iterator[str]:
    thing = thing.final_target if isinstance(thing, griffe.Alias) else thing
    if isinstance(thing, griffe.Class):
        bases = f"({', '.join(map(str, thing.bases))})" if thing.bases else ""
        made = "".join(f" @{decorator.value}" for decorator in thing.decorators)
        yield f"{path}: class{bases}{made}"
        for name, member in thing.members.items():
            if not name.startswith("_") or name in _SPECIAL:
                yield from _described(f"{path}.{name}", member)
            elif isinstance(member, griffe.Attribute) and "alias" in (given := _given(member)):
                # Private, but by this name an argument of the constructor.
                alias = str(given["alias"]).strip("'\"")
                yield f"{path}.{alias}: argument {member.annotation}{_value(member)}"
    elif isinstance(thing, griffe.Function):
        sort = "async def" if "async" in thing.labels else "def"
        yield f"{path}: {sort} {thing.signature()}"
    elif isinstance(thing, griffe.Attribute):
        yield f"{path}: {thing.annotation or 'attribute'}{_value(thing)}"


def _value(attribute: griffe.Attribute) -> str:
    """Show a default, or what an enum's member stands for; no text that a class has for itself."""
    value = attribute.value
    owner = attribute.parent
    enum = isinstance(owner, griffe.Class) and any(
        str(base).endswith("Enum") for base in owner.bases
    )
    if not {"class-attribute", "instance-attribute"} <= attribute.labels or not (
        enum or attribute.annotation
    ):
        return ""
    if isinstance(value, griffe.ExprCall) and str(value.function).endswith("field"):
        given = _given(attribute)
        value = given.get("default", given.get("factory"))
    return "" if value is None else f" = {value}"


def _given(attribute: griffe.Attribute) -> dict[str, str | griffe.Expr]:
    """Return what the `field()` of an attribute is given by name; nothing where it has none."""
    value = attribute.value
    if not isinstance(value, griffe.ExprCall) or not str(value.function).endswith("field"):
        return {}
    return {one.name: one.value for one in value.arguments if isinstance(one, griffe.ExprKeyword)}


def _path(line: str) -> str:
    return line.partition(": ")[0]


def released(snapshot: str) -> list[str]:
    """Return what a snapshot holds of the last release."""
    return [line[2:] for line in snapshot.splitlines() if not line.startswith("+")]


def current(snapshot: str) -> list[str]:
    """Return what a snapshot holds of the present."""
    return [line[2:] for line in snapshot.splitlines() if not line.startswith("-")]


def compared(before: list[str], now: list[str]) -> str:
    """Write a snapshot."""
    lines = [f"{' ' if line in before else '+'} {line}" for line in now]
    lines += [f"- {line}" for line in before if line not in now]
    return "".join(f"{line}\n" for line in sorted(lines, key=lambda line: (_path(line[2:]), line)))


def unnamed(snapshot: str, changelog: str) -> list[str]:
    """Return what has changed since the last release without being named in [Unreleased].

    A name counts where it stands in `code`. With a class that is new or gone go its members.
    """
    before, now = ({_path(line) for line in side(snapshot)} for side in (released, current))
    marked = {_path(line[2:]) for line in snapshot.splitlines() if line[0] in "+-"}
    section = re.search(
        r"^## \[Unreleased\]\n(.*?)(?=^## |\Z)", changelog, re.DOTALL | re.MULTILINE
    )
    spans = re.findall(r"`([^`]+)`", section[1] if section else "")
    named = set(re.findall(r"\w+", " ".join(spans)))
    return sorted(
        path
        for path in marked
        if path.rpartition(".")[0] not in before ^ now
        and path.removesuffix(".__init__").rpartition(".")[2] not in named
    )


def main() -> None:
    """Write the snapshot anew."""
    now = public_api()
    old = SNAPSHOT.read_text("utf-8") if SNAPSHOT.exists() else ""
    before = now if "--release" in sys.argv[1:] else released(old)
    SNAPSHOT.write_text(compared(before, now), "utf-8")
    for path in unnamed(SNAPSHOT.read_text("utf-8"), CHANGELOG.read_text("utf-8")):
        print(f"not yet in CHANGELOG.md, [Unreleased]: {path}")  # noqa: T201 - a command


if __name__ == "__main__":
    main()
