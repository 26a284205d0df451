"""`smspartner doctor`: asks the vendor whatever is free, and says where it differs."""

import asyncio
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from smspartner_async.cli._display import Display
from smspartner_async.cli._error_texts import advice_to_type
from smspartner_async.cli._formats import as_json as written_as_json
from smspartner_async.cli._options import AsJson

from . import questions
from .findings import Finding, Verdict


def doctor(
    *,
    ctx: typer.Context,
    wrong_key: Annotated[
        bool, typer.Option("--wrong-key", help="Also ask once with a wrong key.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a report for others, without secrets."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check this machine, the network, and how the vendor answers. Free.

    It asks for the balance, for the number and price of a few contacts, and for a rental that does
    not exist, one request a second. It never rents or downloads.

    The exit code is 0 where all is as expected, and 1 where something differs or cannot be reached.
    The report holds no key, number, token, name, balance or host: it is fit for a bug report. A
    wrong key is asked with on demand alone, since it might get your address barred.
    """
    display = Display(as_json=as_json)
    if report is not None and report.exists():
        raise FileExistsError(f"{report} exists; choose another file.")
    display.note("Asking what is free, one request a second. Nothing is rented or downloaded.")
    examination = questions.Examination(ctx.obj, questions.PAUSE)
    findings = asyncio.run(examination.run(wrong_key=wrong_key))
    if as_json:
        display.document(_document(findings, [one.as_plain() for one in findings]))
    else:
        display.define((f"{one.verdict.value:13}", _text(one)) for one in findings)
    if report is not None:
        shared = [one.for_report(examination.secrets) for one in findings]
        report.write_text(written_as_json(_document(findings, shared)) + "\n", "utf-8")
        display.note(f"The report is in {report}.")
    if different := sum(finding.verdict is Verdict.DIFFERENT for finding in findings):
        display.note(f"Not as expected: {different} of {len(findings)}.")
        raise typer.Exit(1)
    display.note("All that was seen is as expected.")


def _document(findings: Sequence[Finding], shown: Sequence[dict[str, str]]) -> dict[str, Any]:
    return {
        "smspartner_async": version("smspartner_async"),
        "as_expected": not any(one.verdict is Verdict.DIFFERENT for one in findings),
        "findings": shown,
    }


def _text(finding: Finding) -> str:
    text = f"{finding.about}: {finding.seen}" if finding.seen else finding.about
    if finding.detail:
        text += f" ({advice_to_type(finding.detail)})"
    if finding.verdict is Verdict.DIFFERENT and finding.expected:
        text += f"; expected: {finding.expected}"
    return text
