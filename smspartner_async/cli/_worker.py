"""`smspartner worker`: works on the jobs of a store until it is stopped."""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from smspartner_async._client import SMSPartnerClient
from smspartner_async._errors import SMSPartnerError
from smspartner_async._log import shown_by
from smspartner_async.batch._job import preview

from ._batch.commands import Concurrency, NoLimit, PerMinute, check_installed
from ._batch.folder import LOCK, STORE
from ._display import Display
from ._interrupt import first_interrupt_only, without_interrupts
from ._options import AsJson


def worker(
    *,
    ctx: typer.Context,
    store: Annotated[str, typer.Option(metavar="URL", help="sqlite:///FILE, or postgresql://…")],
    journal: Annotated[
        Path | None, typer.Option(metavar="DIR", help="This machine's journals of tokens.")
    ] = None,
    worker_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="The same after each restart.")
    ] = None,
    concurrency: Concurrency = 10,
    max_requests_per_minute: PerMinute = 360,
    take_over_after: Annotated[
        float, typer.Option(metavar="SECONDS", help="Silence after which a worker is dead.")
    ] = 30.0,
    no_limit: NoLimit = False,
    as_json: AsJson = False,
) -> None:
    """Rent, wait for and download the jobs of a store, until SIGTERM or Ctrl-C.

    Any number of workers share a store; concurrency and requests a minute are those of all of
    them together. The end of each job is logged. Stopped, a worker lets what is being paid or
    downloaded finish, and hands the rest over to the others. It asks nobody: where a job has no
    max_total, it does not start unless --no-limit is given, and leaves one that comes later in the
    queue.
    """
    check_installed()
    display = Display(as_json=as_json)
    from smspartner_async.durable import Store  # noqa: PLC0415 - it takes a second
    from smspartner_async.durable._records import OPEN  # noqa: PLC0415 - it takes a second

    from ._batch import standing  # noqa: PLC0415 - it takes a second
    from ._batch.prompts import show_what_continues  # noqa: PLC0415 - it takes a second

    async def work() -> None:
        async with Store(store) as opened:
            _check_not_a_batch(opened.url.database)
            unpaid = [one.job for one in await opened.records(*OPEN) if one.token is None]
            without = [job.id for job in unpaid if job.max_total is None]
            if without and not no_limit:
                raise SMSPartnerError(
                    f"These jobs have no max_total: {preview(without)}. Nothing was rented. Give "
                    "--no-limit to rent them at any price."
                )
            with suppress(asyncio.CancelledError):
                async with SMSPartnerClient(base_url=ctx.obj) as client:
                    with first_interrupt_only(display):
                        async with opened.worker(
                            client,
                            journal=journal,
                            worker_id=worker_id,
                            concurrency=concurrency,
                            max_requests_per_minute=max_requests_per_minute,
                            take_over_after=take_over_after,
                            require_max_total=not no_limit,
                        ) as known:
                            display.note(
                                f"Worker {known.id} is at work; its journal is {known.journal}."
                            )
                            await asyncio.Event().wait()
            records = await opened.records()
            with without_interrupts():
                show_what_continues(display, records, store)
                if as_json:
                    display.document({"states": standing.standing(records)["states"]})

    terminal = logging.StreamHandler()
    terminal.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    with suppress(KeyboardInterrupt), shown_by(terminal, logging.INFO):
        asyncio.run(work())


def _check_not_a_batch(database: str | None) -> None:
    """Refuse the store of a batch: what its run agreed to would outlive the run here."""
    path = Path(database or "")
    if path.name == STORE and path.with_name(LOCK).exists():
        raise SMSPartnerError(
            f"{path} belongs to a batch. Nothing was sent. Continue it with `smspartner batch run` "
            f"and --out {path.parent}."
        )
