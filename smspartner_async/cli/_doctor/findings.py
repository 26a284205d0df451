"""What the doctor finds, judged: pure functions of what was seen of the vendor's replies."""

from __future__ import annotations

import ssl
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from attrs import asdict, filters, frozen

from smspartner_async._redaction import redact, without_numbers
from smspartner_async._wire import inspection
from smspartner_async._wire.reply import date_timestamp, is_chunked

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from smspartner_async._http.exchange import Exchange
    from smspartner_async._models import Credits, Quote

MOST_SKEW: Final = 60.0  # seconds between the vendor's clock and this machine's
SLOW: Final = 10.0  # seconds
LEAST_DAYS: Final = 14  # for which a certificate is still valid
_ERROR_STATUSES: Final = {200, *range(400, 500)} - {408, 429}
_DAY: Final = 24 * 60 * 60
_SHORTEST_SECRET: Final = 3  # characters; what is shorter stands in every text


class Verdict(Enum):
    """How a fact compares with what this client expects."""

    EXPECTED = "as expected"
    DIFFERENT = "different"
    NOT_SEEN = "not seen"
    NOTED = "noted"


@frozen
class Finding:
    """One fact.

    Attributes:
        about: what the fact is about.
        verdict: how it compares with what is expected.
        seen: what was seen; fit for a bug report unless `private`.
        expected: what this client expects.
        detail: the words of an error. They may name hosts, so a report leaves them out.
        private: whether `seen` names hosts, which a report leaves out.
    """

    about: str
    verdict: Verdict
    seen: str
    expected: str = ""
    detail: str = ""
    private: bool = False

    def as_plain(self) -> dict[str, str]:
        """Make a finding part of a document."""
        return {**asdict(self, filter=filters.exclude("private")), "verdict": self.verdict.value}

    def for_report(self, secrets: Collection[str]) -> dict[str, str]:
        """Make a finding part of a report for others, without secrets and phone numbers.

        What the vendor has written may hold anything, so all of it is searched.
        """
        plain = self.as_plain() | {"seen": "(left out)" if self.private else self.seen}
        del plain["detail"]
        return {name: _without(secrets, text) for name, text in plain.items()}


def _without(secrets: Collection[str], text: str) -> str:
    # A long one first: a part of it may be another one.
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = redact(secret, text)
    return without_numbers(text).replace("[API key]", "(left out)")


@frozen
class Answer:
    """One reply as `on_exchange` shows it, and the moment at which it came."""

    exchange: Exchange
    came_at: datetime


def judged(about: str, seen: str, expected: str, *, good: bool) -> Finding:
    """Make a finding of a fact that is as expected, or different."""
    verdict = Verdict.EXPECTED if good else Verdict.DIFFERENT
    return Finding(about, verdict, seen, expected)


def _judge_all(about: str, seen: Iterable[Any], expected: str, good: Collection[Any]) -> Finding:
    """Judge all values that a fact was seen to have; without one, it is not seen."""
    if not (values := set(seen)):
        return not_seen(about)
    return judged(about, _listed(values), expected, good=values <= set(good))


def not_seen(about: str, why: str = "") -> Finding:
    """Make a finding of a fact that did not show."""
    return Finding(about, Verdict.NOT_SEEN, why)


def judge_certificate(valid_until: str, now: float) -> Finding:
    """Judge how long a certificate is still valid: `valid_until` as Python's `ssl` gives it."""
    days = int((ssl.cert_time_to_seconds(valid_until) - now) // _DAY)
    return judged(
        "certificate",
        f"valid for {days:,} more days",
        f"valid for {LEAST_DAYS} more days at least",
        good=days >= LEAST_DAYS,
    )


def judge_credits(credits: Credits) -> Iterator[Finding]:  # noqa: A002 - what it is
    """Judge how the balance is written."""
    yield from _judge_kinds("credits", inspection.credits_kinds(credits.raw))


def judge_quote(quote: Quote, asked: str) -> Iterator[Finding]:
    """Judge how a quote is written."""
    yield from _judge_kinds(quote.operation, inspection.quote_kinds(quote.raw))
    words, known = inspection.area_types(quote.raw), inspection.AREA_TYPES
    about = f"{quote.operation}: types of areas"
    yield _judge_all(about, words or {"none"}, _listed(known), known)
    areas = [area.location for area in quote.areas]
    yield judged(
        f"{quote.operation}: areas", _listed(areas) or "none", asked, good=areas == [asked]
    )
    if quote.operation == "calculate":
        total = quote.total_volume
        seen = "none" if total is None else "a number"
        yield judged("calculate: number of contacts", seen, "a number", good=total is not None)


def judge_volumes(quote: Quote, wanted: int) -> Finding:
    """Judge whether the volumes of a price are kept to."""
    count = quote.cost.quantity if quote.cost is not None else None
    if count is None:
        return not_seen("price: volumes are kept to")
    return judged(
        "price: volumes are kept to",
        f"{count:,} contacts",
        f"{wanted:,} contacts",
        good=count == wanted,
    )


def _judge_kinds(operation: str, kinds: Mapping[str, set[str]]) -> Iterator[Finding]:
    for name, seen in kinds.items():
        expected = inspection.EXPECTED_KINDS[name]
        about, words = f"{operation}: {name} is written as", " or ".join(sorted(expected))
        yield _judge_all(about, seen or {"nothing"}, words, expected)


def judge_answers(answers: Sequence[Answer]) -> Iterator[Finding]:
    """Judge what all replies together show of HTTP."""
    exchanges = [one.exchange for one in answers]
    heads = [one.headers for one in exchanges if one.http_status is not None]
    if not heads:
        yield from map(not_seen, ("HTTP status", "media type", "framing", "latency"))
        return
    good = {one.http_status for one in exchanges if one.error is None}
    yield _judge_all("HTTP status of an answer", good, "200", {200})
    bad = {one.http_status for one in exchanges if getattr(one.error, "code", None) is not None}
    expected = "200, or 400 to 499 but 408 and 429"
    yield _judge_all("HTTP status of an error", bad, expected, _ERROR_STATUSES)
    types = {head.get("Content-Type", "none").partition(";")[0].strip().lower() for head in heads}
    yield _judge_all("media type", types, "application/json", {"application/json"})
    framings = map(_framing, heads)
    yield _judge_all("framing", framings, "a length, or chunks", {"a length", "chunks"})
    codings = {head.get("Content-Encoding", "").lower()[:20] for head in heads} - {""}
    yield _judge_all("compression", codings or {"none"}, "none", {"none", "identity"})
    yield _judge_limits(heads)
    yield _judge_clock(answers)
    slowest = max(one.elapsed for one in exchanges)
    yield judged("latency", f"up to {slowest:.2f} s", f"below {SLOW:.0f} s", good=slowest < SLOW)


def _framing(head: Mapping[str, str]) -> str:
    if is_chunked(head):
        return "chunks"
    return "a length" if "Content-Length" in head else "until the connection closes"


def _judge_limits(heads: Iterable[Mapping[str, str]]) -> Finding:
    names = {name.lower() for head in heads for name in head if "ratelimit" in name.lower()}
    if not names:
        return not_seen("rate limit in the head")
    shown = _listed(name[:40] for name in names)
    return Finding("rate limit in the head", Verdict.NOTED, shown)


def _judge_clock(answers: Iterable[Answer]) -> Finding:
    skews = [
        abs(said - one.came_at.timestamp())
        for one in answers
        if (said := date_timestamp(one.exchange.headers.get("Date", ""))) is not None
    ]
    if not skews:
        return not_seen("clock", "no reply had a Date")
    return judged(
        "clock",
        f"{max(skews):,.0f} s apart",
        f"at most {MOST_SKEW:.0f} s apart",
        good=max(skews) <= MOST_SKEW,
    )


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(sorted(map(str, values)))
