"""Draws the picture of the demonstration: `python tests/support/vendor/picture.py`."""

from __future__ import annotations

import asyncio
import io
import re
import tempfile
from contextlib import chdir
from pathlib import Path
from typing import Final

from rich.console import Console

from smspartner_async.cli._demo import demonstrate
from smspartner_async.cli._display import Display

FILE: Final = Path(__file__).parents[3] / ".assets" / "demo.svg"
# Rich's own format would have the picture's reader fetch a font from elsewhere.
_PICTURE: Final = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font: {char_height}px/{line_height}px "Fira Code", Consolas, monospace; }}
.{unique_id}-title {{ font: bold 18px sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix" xml:space="preserve">
{matrix}
</g>
</g>
</svg>
"""
_SOME_RENTAL: Final = "2c624232cc221771294dfbb310aca000a0df6ac8"


async def recorded() -> str:
    """Run the demonstration unseen, and make an SVG of what was shown, with a token made up."""
    display = Display(together=True)
    display._err = display._out = Console(
        file=io.StringIO(),
        record=True,
        # The same on every machine, whatever its terminal.
        width=80,
        force_terminal=True,
        force_interactive=False,
        no_color=False,
        color_system="truecolor",
        legacy_windows=False,
        highlight=False,
        markup=False,
        emoji=False,
    )
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        await demonstrate(display, Path("contacts.csv"))
    picture = display._out.export_svg(
        title="smspartner demo", code_format=_PICTURE, unique_id="demo"
    )
    return re.sub(r"\b[0-9a-f]{40}\b", _SOME_RENTAL, picture)


if __name__ == "__main__":
    FILE.write_text(asyncio.run(recorded()), "utf-8", newline="\n")
