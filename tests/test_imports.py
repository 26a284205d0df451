"""What `import smspartner_async` brings along: its four dependencies, and next to nothing else."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PACKAGE = "smspartner_async"
DEPENDENCIES = ("aiohttp", "attrs", "cattrs", "tenacity")

# Of the standard library, beside what the dependencies need. Whoever adds a line has measured what
# it costs: `python -m benchmarks imports`.
ALLOWED = {
    "_decimal",
    "decimal",
    "numbers",
}
# Public rooms that only those pay for who import them.
ROOMS = ("batch", "cli", "durable", "otel", "sandbox", "testing", "web")


def loaded_by(*modules: str) -> set[str]:
    """The names of all modules that a new interpreter has after these imports."""
    script = f"import json, sys, {', '.join(modules)}; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(json.loads(ran.stdout))


@pytest.fixture(scope="module")
def core() -> set[str]:
    """What the core loads beside its dependencies."""
    return loaded_by("json", PACKAGE) - loaded_by("json", *DEPENDENCIES)


def test_the_core_loads_nothing_of_the_extras(core: set[str]) -> None:
    """Core users pay nothing for extras, and next to nothing beside the four dependencies."""
    foreign = {name for name in core if name.partition(".")[0] != PACKAGE}
    assert foreign <= ALLOWED


def test_the_core_loads_no_room_that_was_not_asked_for(core: set[str]) -> None:
    """The batch, the sandbox and all that needs an extra is loaded by whoever imports it."""
    rooms = {name.split(".")[1] for name in core if name.startswith(f"{PACKAGE}.")}
    assert "_client" in rooms
    assert not rooms & {
        *ROOMS,
        "_display",
        "_options",
        "_jobs",
        "_download",
        "_paid",
        "_settings",
        "_waiting",
    }
