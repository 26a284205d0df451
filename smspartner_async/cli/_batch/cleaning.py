"""`smspartner batch clean`: what is personal of jobs that have ended goes, once a person agrees."""

import asyncio
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smspartner_async._errors import SMSPartnerError
from smspartner_async.cli._display import Display
from smspartner_async.cli._formats import jobs_text
from smspartner_async.cli._options import AsJson

from .commands import Out, StoreUrl, batch_app, existing_store, url_of_store
from .folder import locked

if TYPE_CHECKING:
    from smspartner_async.durable import Cleaned

__all__ = ["batch_app", "clean"]


@batch_app.command(epilog="Example: smspartner batch clean --out autumn", no_args_is_help=True)
def clean(
    *,
    store: StoreUrl = None,
    out: Out = None,
    journal: Annotated[
        Path | None, typer.Option(metavar="DIR", help="This machine's journals, beside Postgres.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: remove it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove what is personal of jobs that have ended: targetings, and parts of files.

    Their ids, states, tokens and prices stay, as do the files that were downloaded. Nothing of a
    job is touched that is open, may be paid for, or is paid for without a file. Stop all workers
    first.
    """
    url = url_of_store(store, out)
    from .run import reporting_what_is_open  # noqa: PLC0415 - it takes a second

    display = Display(as_json=as_json)
    with reporting_what_is_open(out, display), nullcontext() if out is None else locked(out):
        planned = asyncio.run(_clean(url, journal, dry_run=True))
        files = [str(path) for path in (*planned.parts, *planned.journals)]
        kept = f", {len(planned.kept):,} to keep" if planned.kept else ""
        facts = [("Jobs", f"{len(planned.jobs):,} to clean{kept}")]
        facts += [("Parts", f"{len(planned.parts):,} to remove")] * bool(planned.parts)
        facts += [("Journals", f"{len(planned.journals):,} to clean")] * bool(planned.journals)
        display.facts(facts, beside=True)
        display.listed(files)
        if not planned.jobs and not files:
            display.note("There is nothing to remove.")
        elif not yes:
            why, no = "what is removed does not come back", "Nothing was removed."
            display.check_can_ask(why, no, "remove it without a question")
            display.ask("Remove it for good?", no=no)
        done = asyncio.run(_clean(url, journal, dry_run=False))
    if as_json:
        display.document(
            {
                "cleaned": done.jobs,
                "kept": done.kept,
                "parts": [str(path) for path in done.parts],
                "journals": [str(path) for path in done.journals],
            }
        )
    else:
        display.facts([("Cleaned", jobs_text(len(done.jobs)))])


async def _clean(url: str, journal: Path | None, **how: Any) -> "Cleaned":
    async with existing_store(url) as store:
        try:
            return await store.clean(journal=journal, **how)
        except ValueError as error:
            raise SMSPartnerError(error.args[0]) from None
