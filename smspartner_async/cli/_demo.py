"""The demonstration: the whole path of a rental in seconds, explained to a newcomer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import evolve

from smspartner_async._client import SMSPartnerClient
from smspartner_async._models import Gender, Targeting
from smspartner_async._policies import PollingPolicy
from smspartner_async.sandbox import Sandbox

from ._formats import money

if TYPE_CHECKING:
    from pathlib import Path

    from smspartner_async._models import ContactFile

    from ._display import Display

_STORY: Final = """\
A stand-in for SMS Partner now runs on this machine: nothing here costs money,
and the numbers are made up. Each step below is a call that your program would
make. We look for women of 25 to 40 years, interest 12, in two post codes."""
_RENT_STORY: Final = """\
This spends the money: once, and no more than max_total. Back comes a token, all
that the other calls need, in this program or any other."""


async def demonstrate(display: Display, path: Path) -> ContactFile:
    """Show each step of a rental on an embedded sandbox; return its file, which is at `path`."""
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
        limit = quote.total
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
        file = evolve(file, path=path)
        display.show(file)
        display.step("credits()", "What is left?")
        after = await client.credits()
        display.say(f"{money(after.balance, after.currency)}\n\nDone. The file: {path}")
    return file
