"""What the doctor finds: each way in which a vendor may differ, judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from smspartner_async import Cost, Quote
from smspartner_async.cli._doctor import findings

from .test_command import facts, replacing

if TYPE_CHECKING:
    from shell import Shell


LIES: list[tuple[str, dict[str, Any], str, str]] = [
    ("credits", {"rewrite": replacing('"1000.000"', "true")}, "credits", "ResponseError, HTTP 200"),
    *(
        (operation, {"rewrite": replacing(old, new)}, f"{operation}: {fact}", seen)
        for operation in ("calculate", "price")
        for old, new, fact, seen in [
            ('"total": [^,]+,', '"total": null,', "total is written as", "nothing"),
            ('"cost_unity": [^}]+', '"cost_unity": null', "unit price is written as", "nothing"),
            ('"quantity": [0-9]+', '"quantity": null', "quantity is written as", "nothing"),
            (
                '("01000", "Volume": )[^}]+',
                r"\g<1>50.0",
                "volume is written as",
                "number with decimals, whole number",
            ),
            (
                '"Localite": "total"',
                '"Localite": 0',
                "post code is written as",
                "text, whole number",
            ),
            ('"(?i:cp)"', '"ville"', "types of areas", "total, ville"),
            ('"01000"', '"1000"', "areas", "1000"),
        ]
    ),
    (
        "calculate",
        {"rewrite": lambda _: b'{"success": false, "message": "no"}'},
        "calculate",
        "APIError, code None, HTTP 200",
    ),
    ("price", {"rewrite": lambda _: b"{}"}, "price", "ResponseError, HTTP 200"),
    (
        "calculate",
        {"rewrite": replacing(r', [{]"Type": "total"[^}]+[}]', "")},
        "calculate: number of contacts",
        "none",
    ),
    (
        "price",
        {"rewrite": replacing('"quantity": 20', '"quantity": 9000')},
        "price: volumes are kept to",
        "9,000 contacts",
    ),
    (
        "status",
        {"rewrite": replacing('"code": 32', '"code": 33')},
        "status of no rental",
        "RentalNotFoundError, code 33, HTTP 404",
    ),
    ("status", {"status": 500}, "HTTP status of an error", "500"),
    ("credits", {"status": 203}, "HTTP status of an answer", "200, 203"),
    ("credits", {"media_type": "text/html"}, "media type", "application/json, text/html"),
    (
        "credits",
        {"framing": "close", "headers": {"Connection": "keep-alive"}},
        "framing",
        "a length, until the connection closes",
    ),
    ("credits", {"compressed": True}, "compression", "gzip"),
]
TESTED_ELSEWHERE = {
    *("name", "connection", "TLS", "API key", "a wrong key"),  # of the network: test_questions
    *("clock", "latency"),  # below: what is seen differs from run to run
}
# What is written in any other way cannot be read: it makes "credits" different.
CANNOT_DIFFER = {"credits: balance is written as"}


@pytest.mark.parametrize(("operation", "alteration", "about", "seen"), LIES)
def test_a_vendor_that_differs(
    shell: Shell, operation: Any, alteration: dict[str, Any], about: str, seen: str
) -> None:
    """A vendor that lies in one way is seen to differ in that fact, and in no other."""
    shell.sandbox.alter_next_reply(operation, **alteration)
    found = facts(shell, exit_code=1)
    assert {fact: seen for fact, (verdict, seen) in found.items() if verdict == "different"} == {
        about: seen
    }


def test_each_fact_has_its_lie(shell: Shell) -> None:
    """No fact is compared with an expectation that no test has seen disappointed."""
    compared = {
        fact for fact, (verdict, _) in facts(shell, exit_code=0).items() if verdict != "noted"
    } - {"rate limit in the head"}  # it is only noted
    assert compared == {about for *_, about, _ in LIES} | TESTED_ELSEWHERE | CANNOT_DIFFER


def test_a_clock_that_is_wrong(shell: Shell) -> None:
    """The vendor's Date is compared with this machine's clock."""
    shell.sandbox.alter_next_reply("credits", headers={"Date": "Wed, 01 Jan 2020 00:00:00 GMT"})
    verdict, seen = facts(shell, exit_code=1)["clock"]
    assert verdict == "different"
    assert seen.endswith(" s apart")


def test_a_slow_vendor(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that take long are a finding."""
    monkeypatch.setattr(findings, "SLOW", 0.5)
    shell.sandbox.delay_next_reply("status", seconds=0.5)
    assert facts(shell, exit_code=1)["latency"][0] == "different"


def test_what_shows_only_sometimes(shell: Shell) -> None:
    """A limit that a head names is noted, and compared with nothing."""
    shell.sandbox.alter_next_reply("credits", headers={"X-RateLimit-Limit": "360"})
    noted = facts(shell, exit_code=0)["rate limit in the head"]
    assert noted == ("noted", "x-ratelimit-limit")


@pytest.mark.parametrize(
    ("counted", "verdict"), [(20, "as expected"), (9000, "different"), (None, "not seen")]
)
def test_volumes_of_a_price_that_are_kept_to(counted: int | None, verdict: str) -> None:
    """A vendor that counts more than was wanted would sell more; without a count nobody knows."""
    cost = Cost(quantity=counted, total=None, unit=None)
    assert findings.judge_volumes(Quote(operation="price", cost=cost), 20).verdict.value == verdict


def test_what_names_a_host_is_left_out_of_a_report() -> None:
    """A secret: the words of an error, and what is private, are for this machine alone."""
    finding = findings.Finding(
        "address",
        findings.Verdict.NOTED,
        "https://host.example",
        detail="no route to host.example",
        private=True,
    )
    assert "example" not in str(finding.for_report(()))
    assert finding.as_plain() == {
        "about": "address",
        "verdict": "noted",
        "seen": "https://host.example",
        "expected": "",
        "detail": "no route to host.example",
    }


@pytest.mark.parametrize(
    ("days", "verdict", "seen"),
    [
        (90, "as expected", "valid for 90 more days"),
        (14, "as expected", "valid for 14 more days"),
        (13, "different", "valid for 13 more days"),
        (-1, "different", "valid for -1 more days"),
    ],
)
def test_a_certificate_that_ends_soon(days: int, verdict: str, seen: str) -> None:
    """Days that a certificate is still valid for are counted; fewer than two weeks are too few."""
    ends = 1_900_000_000  # Mar 17 17:46:40 2030 GMT
    found = findings.judge_certificate("Mar 17 17:46:40 2030 GMT", ends - days * 86_400)
    assert (found.about, found.verdict.value, found.seen) == ("certificate", verdict, seen)


@pytest.mark.parametrize(
    "secret",
    [
        "key-of-somebody",
        "KEY-OF-SOMEBODY",
        "key%2Dof%2Dsomebody",
        "8642.975",
        "proxy.example",
        "pass(word",
        "Ana María",
        "+33 6 39 98 12 34",
        "33639981234",
    ],
)
@pytest.mark.parametrize("name", ["about", "seen", "expected"])
def test_a_report_holds_no_secret_wherever_the_vendor_has_put_it(secret: str, name: str) -> None:
    """A secret: the key in any spelling, the account, hosts, proxies and numbers are left out."""
    secrets = {"key-of-somebody", "8642.975", "proxy.example", "pass(word", "Ana María", "a"}
    finding = findings.Finding("media type", findings.Verdict.NOTED, "text/html", "a length")
    changed: dict[str, Any] = {name: f"text of {secret}"}
    report = evolve(finding, **changed).for_report(secrets)
    assert secret not in str(report)
    assert report[name].startswith("text of ")
    assert report["verdict"] == "noted"


def test_without_a_reply_nothing_is_judged() -> None:
    """Where none came, each fact of HTTP is named as not seen."""
    found = list(findings.judge_answers([]))
    assert {one.verdict for one in found} == {findings.Verdict.NOT_SEEN}
    assert [one.about for one in found] == ["HTTP status", "media type", "framing", "latency"]
