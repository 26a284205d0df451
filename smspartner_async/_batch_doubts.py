"""What is known of a job that may be paid for, and the commands that settle it.

The same facts, whether they come from a store or from `results.jsonl`: those of
`JobRecord.attention`, with what the job asks for.
"""

from __future__ import annotations

import shlex
import textwrap
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ._display_results import money, people
from ._models import Targeting
from ._results import wanted_by

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from ._display import Display
    from ._records import JobRecord
    from ._results import Results

_LISTED: Final = 10
_WIDTH: Final = 68
_HOW: Final = (
    "Look into the vendor's web interface. If nothing was charged (it is then RENTED ANEW), if it "
    "was, or to leave it alone for good:"
)
_WANTED: Final = {"targeting", "volumes"}


def known_in_store(record: JobRecord) -> Mapping[str, Any]:
    """Tell what a store knows of a job that needs attention."""
    return {**record.attention, **wanted_by(record.job)}


def known_in_results(results: Results) -> dict[str, dict[str, Any]]:
    """Tell what a batch without a store knows of each job that may be paid for."""
    return {
        job: {
            "claimed_at": results.of(job).at or None,
            "journal": str(results.path),
            "journal_lines": lines,
            "price": results.of(job).price,
            **{name: v for line in lines for name, v in line.items() if name in _WANTED},
        }
        for job, lines in results.lines().items()
    }


def place(store: str | None, out: object) -> tuple[str, str]:
    """Name a batch as the commands do: by its store, without a password, or by its folder."""
    if store is None:
        return "--out", str(out)
    parts = urlsplit(store)
    if parts.password is None:
        return "--store", store
    host = parts.netloc.rpartition("@")[2]
    return "--store", parts._replace(netloc=f"{parts.username}@{host}").geturl()


def tell_each(
    display: Display,
    doubts: Sequence[tuple[str, Mapping[str, Any]]],
    where: tuple[str, str],
    *,
    beside: bool = True,
) -> None:
    """Tell all that is known of each job, by its id, and what settles it."""
    for id, known in doubts[:_LISTED]:  # noqa: A001 - the name of the field
        commands = [
            f"{shlex.join(['smspartner', 'batch', 'resolve', id])} {word} {shlex.join(where)}"
            for word in ("--not-charged", "--token TOKEN", "--give-up")
        ]
        display.doubt([("Job", id), *_facts(known)], _HOW, commands, beside=beside)
    if (more := len(doubts) - _LISTED) > 0:
        all_of_them = f"smspartner batch status --json {shlex.join(where)}"
        display.doubt([], f"... and {more:,} more. To see them all:", [all_of_them], beside=beside)


def _facts(known: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if known.get("claimed_at"):
        worker = f", by worker {known['worker']}" if known.get("worker") else ""
        yield "Rent", f"begun {_moment(known['claimed_at'])}{worker}"
    if known.get("targeting"):
        yield from _broken("For", ", ".join(people(Targeting(**known["targeting"]))))
        volumes = (known.get("volumes") or {}).items()
        wanted = ", ".join(f"{number:,} in {area}" for area, number in volumes)
        yield from _broken("Contacts", wanted or "all that match")
    yield "Price", "not known" if known.get("price") is None else money(Decimal(known["price"]))
    yield from _balances(known)
    if known.get("journal"):
        yield "Journal", known["journal"]
        yield from (("", _line(line)) for line in known.get("journal_lines", ()))


def _broken(label: str, text: str) -> Iterator[tuple[str, str]]:
    """Break between words what nobody copies."""
    first, *others = textwrap.wrap(text, _WIDTH, break_long_words=False)
    yield label, first
    yield from (("", other) for other in others)


def _balances(known: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    before, now = (
        None if known.get(name) is None else Decimal(known[name])
        for name in ("balance_before", "balance_now")
    )
    if before is not None:
        yield "Balance", f"{money(before)} before{_at(known.get('balance_before_at'))}"
    if now is not None:
        yield (
            "" if before is not None else "Balance",
            f"{money(now)} afterwards{_at(known.get('balance_now_at'))}"
            + ("" if before is None else f": {_change(before - now)}"),
        )
    if before is None and now is None:
        yield "Balance", "not known"


def _change(less: Decimal) -> str:
    return "the same" if not less else f"{money(abs(less))} {'less' if less > 0 else 'more'}"


def _line(line: Mapping[str, Any]) -> str:
    """Tell a line of a journal, or of `results.jsonl`, without what stands above it."""
    what = line.get("state") or ("token" if "token" in line else "about to be sent")
    more = [str(line[name]) for name in ("token", "message") if line.get(name)]
    claim = [f"(claim {line['nonce']})"] if line.get("nonce") else []
    return f"{_moment(line['at'])}  {' '.join([what, *more, *claim])}"


def _at(moment: str | None) -> str:
    return f", {_moment(moment)}" if moment else ""


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
