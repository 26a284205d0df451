"""The demonstration: the whole path of a rental in seconds, told to a newcomer."""

from __future__ import annotations

import re
import tempfile
from contextlib import chdir
from pathlib import Path
from typing import Final

from attrs import evolve

from ._client import SMSPartnerClient
from ._display import Display
from ._display_results import money
from ._models import Gender, Targeting
from ._polling import PollingPolicy
from .sandbox import Sandbox

_STORY: Final = """\
A stand-in for SMS Partner now runs on this machine: nothing here costs money,
and the numbers are made up. Each step below is a call that your program would
make. We look for women of 25 to 40 years, interest 12, in two post codes."""
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
_RENT_STORY: Final = """\
This spends the money: once, and no more than max_total. Back comes a token, all
that the other calls need, in this program or any other."""


async def demonstrate(display: Display, path: Path) -> None:
    """Show each step of a rental on an embedded sandbox, and leave its file at `path`."""
    women = Targeting(
        gender=Gender.FEMALE, min_age=25, max_age=40, interest=12, zipcodes=("02200", "60200")
    )
    volumes = {"60200": 20}
    polling = PollingPolicy(first_interval=0.5, max_interval=0.5, jitter=0.0)
    # With key and address given, those of the environment play no part.
    async with (
        Sandbox(speed=2.0) as sandbox,
        SMSPartnerClient(sandbox.api_key, base_url=sandbox.base_url, polling=polling) as client,
    ):
        display.say(_STORY)
        display.step("credits()", "What is on the account?")
        before = await client.credits()
        display.say(money(before.balance, before.currency))
        display.step("calculate(women)", "How many are there, at what price? Free.")
        display.show(await client.calculate(women))
        display.step(f"price(women, {volumes})", "And with only 20 of them in 60200? Free.")
        quote = await client.price(women, volumes)
        display.show(quote)
        limit = quote.cost.total if quote.cost is not None else None
        display.step(f"rent(women, {volumes}, max_total={limit!r})", _RENT_STORY)
        rental = await client.rent(women, volumes, max_total=limit)
        display.say(f"Token {rental.token}")
        display.step("wait_until_ready(rental)", "The file is made: 0, then 1, then 2.")
        with display.waiting() as heard:
            ready = await client.wait_until_ready(rental, on_poll=heard)
        display.say(f"{ready.phone_numbers} numbers are ready.")
        display.step(f"download(rental, {path.name!r})", "To disk, for your eyes only.")
        with display.downloading() as progress:
            file = await client.download(rental, path, on_progress=progress)
        display.show(evolve(file, path=path))
        display.step("credits()", "What is left?")
        after = await client.credits()
        display.say(f"{money(after.balance, after.currency)}\n\nDone. The file: {path}")


async def recorded() -> str:
    """Run the demonstration unseen, and make an SVG of what was shown, with a token made up."""
    display = Display(together=True, unseen=True)
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        await demonstrate(display, Path("contacts.csv"))
    picture = display.picture("smspartner demo", _PICTURE)
    return re.sub(r"\b[0-9a-f]{40}\b", _SOME_RENTAL, picture)
