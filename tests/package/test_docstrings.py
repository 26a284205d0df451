"""The examples in docstrings are programs: each runs, and gives what stands below it."""

from __future__ import annotations

import ast
import doctest
import inspect
import io
import sqlite3
import types
from contextlib import AsyncExitStack, aclosing, closing, redirect_stdout
from decimal import Decimal
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from public_api import SNAPSHOT, current

from smspartner_async import SMSPartnerClient, Targeting
from smspartner_async.batch import RentalJob
from smspartner_async.testing import QUICK_POLLING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smspartner_async.sandbox import Sandbox

PARTS = ("batch", "durable", "otel", "sandbox", "testing", "web")
WITHOUT = {
    "smspartner_async.PollingPolicy.delay": "takes the state of a wait, which the client makes",
    "smspartner_async.PollingPolicy.stops": "takes the state of a wait, which the client makes",
    "smspartner_async.RetryPolicy.delay": "takes the state of a call, which the client makes",
    "smspartner_async.sandbox.run": "ends with a signal",
    "smspartner_async.sandbox.serve": "ends with a signal",
}
"""Public functions and methods that have no example, and why."""


def public_functions() -> list[str]:
    """Public functions and methods; a `__call__` counts as its class.

    Constructors and `async with` are in the other examples.
    """
    lines = current(SNAPSHOT.read_text("utf-8"))
    paths = [path for path, _, rest in (line.partition(": ") for line in lines) if "def " in rest]
    kept = [path for path in paths if not path.endswith(("__init__", "__aenter__"))]
    return sorted(path.removesuffix(".__call__") for path in kept)


def found(path: str) -> Any:
    """Import what a path names."""
    package, *names = path.split(".")
    if names[0] in PARTS:
        package = f"{package}.{names.pop(0)}"
    return reduce(getattr, names, import_module(package))


def public_names(package: str) -> dict[str, Any]:
    """What `from package import *` brings."""
    module = import_module(package)
    return {name: getattr(module, name) for name in module.__all__}


WITH_EXAMPLES = [path for path in public_functions() if path not in WITHOUT]
MORE = [
    *("Targeting", "Quote.total", "Rental.total", "RentalState.is_terminal"),
    *("PollingPolicy", "RetryPolicy"),
]


def examples_of(docstring: str | None) -> list[doctest.Example]:
    """The examples of a docstring, each with what should stand below it."""
    return doctest.DocTestParser().get_examples(docstring or "")


async def run(examples: Iterable[doctest.Example], names: dict[str, Any]) -> None:
    """Run examples in order, and compare what each shows with what stands below it."""
    for example in examples:
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(example.source, "<example>", "single", flags, dont_inherit=True)
        with redirect_stdout(io.StringIO()) as shown:
            ran = types.FunctionType(code, names)()
            if inspect.isawaitable(ran):
                await ran
        fits = doctest.OutputChecker().check_output(
            example.want, shown.getvalue(), doctest.ELLIPSIS
        )
        assert fits, f"{example.source}shows\n{shown.getvalue()}and not\n{example.want}"


class Response:
    """What a web framework answers a browser with."""

    async def write(self, chunk: bytes) -> None:
        assert isinstance(chunk, bytes)


def prepare(store: Path) -> None:
    """Bring two jobs of a store into states in which a person is asked."""
    with closing(sqlite3.connect(store)) as database, database:
        states = [("failed", "south"), ("needs_attention", "east")]
        database.executemany("UPDATE smspartner_jobs SET state = ? WHERE id = ?", states)


def job(name: str) -> RentalJob:
    """A job whose file goes to the current folder."""
    women = Targeting(gender="female", min_age=25, max_age=35, interest=12, zipcodes="06200")
    volumes, limit = {"06200": 20}, Decimal("5.00")
    path = Path(f"{name}.csv")
    return RentalJob(id=name, targeting=women, volumes=volumes, max_total=limit, path=path)


def write_jobs() -> None:
    """Write a file of two jobs."""
    rows = ("id,gender,min_age,max_age,interest", "north,mixed,18,98,12", "south,male,18,98,12")
    Path("jobs.csv").write_text("\n".join(rows), "utf-8")


@pytest.fixture
async def given(
    sandbox: Sandbox, client: SMSPartnerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """What stands around an example: a client, a rental that is ready, a job, a file of jobs."""
    monkeypatch.chdir(tmp_path)
    init = inspect.unwrap(SMSPartnerClient.__init__)
    monkeypatch.setattr(init, "__kwdefaults__", init.__kwdefaults__ | {"polling": QUICK_POLLING})
    write_jobs()
    north = job("north")
    rental = await client.rent(north.targeting, north.volumes)
    sandbox.make_ready(rental)
    return {
        "Decimal": Decimal,
        "aclosing": aclosing,
        "client": client,
        "job": north,
        "rental": rental,
        "response": Response(),
        "sandbox": sandbox,
        "token": rental.token,
        "women": north.targeting,
    }


@pytest.mark.parametrize("path", [*WITH_EXAMPLES, *(f"smspartner_async.{name}" for name in MORE)])
async def test_an_example_runs(path: str, given: dict[str, Any]) -> None:
    """What an editor shows of a public name can be pasted into `python -m asyncio`, and works."""
    examples = examples_of(inspect.getdoc(found(path)))
    assert examples, f"{path} has no example"
    package = ".".join(path.split(".")[: 1 + (path.split(".")[1] in PARTS)])
    names = public_names("smspartner_async") | public_names(package) | given
    async with AsyncExitStack() as stack:
        if package.endswith(".durable"):
            durable = pytest.importorskip("smspartner_async.durable")
            store = await stack.enter_async_context(durable.Store("sqlite:///rentals.db"))
            await store.submit(map(job, ("north", "south", "east")))
            prepare(Path("rentals.db"))
            names["store"] = store
        await run(examples, names)


def test_what_needs_no_example_is_public() -> None:
    """No name that is gone stays on the list of those without an example."""
    assert set(WITHOUT) <= set(public_functions())
