"""What importing the client brings along: its four dependencies, and next to nothing else."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

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


def loaded_by(statement: str) -> set[str]:
    """The names of all modules that a new interpreter has after an import."""
    script = f"import json, sys; {statement}; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(json.loads(ran.stdout))


@pytest.fixture(scope="module")
def core() -> set[str]:
    """What the core loads beside its dependencies."""
    client = loaded_by(f"from {PACKAGE} import SMSPartnerClient")
    return client - loaded_by(f"import {', '.join(DEPENDENCIES)}")


def test_the_core_loads_nothing_of_the_extras(core: set[str]) -> None:
    """Core users pay nothing for extras, and next to nothing beside the four dependencies."""
    foreign = {name for name in core if name.partition(".")[0] != PACKAGE}
    assert foreign <= ALLOWED


def test_the_core_loads_no_room_that_was_not_asked_for(core: set[str]) -> None:
    """The batch, the sandbox and all that needs an extra is loaded by whoever imports it."""
    rooms = {name.partition(".")[2] for name in core if name.startswith(f"{PACKAGE}.")}
    assert "_client" in rooms
    assert not rooms & {
        *ROOMS,
        "_environment",
        "_operations.download",
        "_operations.poll",
        "_operations.rent",
    }


def test_the_package_alone_loads_nothing() -> None:
    """What pytest imports of the package in every run costs next to nothing."""
    loaded = loaded_by(f"import {PACKAGE}.testing._plugin") - loaded_by("import pytest")
    assert loaded == {PACKAGE, f"{PACKAGE}.testing", f"{PACKAGE}.testing._plugin"}


def test_each_public_name_is_where_the_type_checkers_look_for_it() -> None:
    """The names that are imported on demand are those of `__all__`, and no others."""
    package = import_module(PACKAGE)
    (only_for_types,) = (
        node
        for node in ast.parse(Path(package.__file__ or "").read_text("utf-8")).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    homes = {
        alias.name: node.module
        for node in only_for_types.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(homes) == sorted(package.__all__)
    for name, home in homes.items():
        assert getattr(package, name) is getattr(import_module(f"{PACKAGE}.{home}"), name)
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="no attribute 'Targetting'"):
        package.Targetting  # noqa: B018 - looked at is enough
