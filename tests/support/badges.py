"""README's badges, made of what pyproject.toml says: they need no network, and cannot go stale.

python tests/badges.py    writes .assets/badge-*.svg anew
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Final

from paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

_SIZE: Final = 11  # pixels
_NARROW: Final = frozenset("fijlrt,. ")
_SVG: Final = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" \
aria-label="{name}: {value}">
<title>{name}: {value}</title>
<rect width="{left}" height="20" rx="3" fill="#444"/>
<path d="M{left} 0h{right_less}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3h-{right_less}z" fill="#0072B2"/>
<path d="M{inner} 0h3v20h-3z" fill="#444"/>
<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="{size}">
<text x="6" y="14" textLength="{name_length}">{name}</text>
<text x="{value_at}" y="14" textLength="{value_length}">{value}</text>
</g>
</svg>
"""


def facts() -> dict[str, str]:
    """Read what the badges say."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    project = settings["project"]
    status = next(
        line.rpartition(" - ")[2] for line in project["classifiers"] if "Development Status" in line
    )
    typed = settings["tool"]["mypy"]["strict"] and "Typing :: Typed" in project["classifiers"]
    names = [re.split(r"[<>=~! ]", line)[0] for line in project["dependencies"]]
    return {
        "python": project["requires-python"].removeprefix(">=") + "+",
        "types": "strict" if typed else "loose",
        "licence": project["license"],
        "needs": ", ".join(names),
        "status": status.lower(),
    }


def badge(name: str, value: str) -> str:
    """Draw one badge."""
    name_length, value_length = map(_length, (name, value))
    left, right = name_length + 12, value_length + 12
    return _SVG.format(
        name=name,
        value=value,
        width=left + right,
        left=left,
        inner=left - 3,
        right_less=right - 3,
        value_at=left + 6,
        size=_SIZE,
        name_length=name_length,
        value_length=value_length,
    )


def _length(text: str) -> int:
    """Estimate how wide a text is in Verdana; viewers stretch it to that."""
    return round(sum(4.4 if letter in _NARROW else 6.8 for letter in text))


def badges() -> dict[Path, str]:
    """Draw them all: each file, and what is in it."""
    return {
        ROOT / ".assets" / f"badge-{name}.svg": badge(name, value)
        for name, value in facts().items()
    }


if __name__ == "__main__":
    for path, text in badges().items():
        path.write_text(text, "utf-8")
