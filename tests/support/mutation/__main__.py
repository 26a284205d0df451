"""Break the code in many small ways, and see whether the tests of each module notice.

    PYTHONPATH=tests/support python -m mutation                     a sample of 300, seed 1
    PYTHONPATH=tests/support python -m mutation --of _wire/ web/    a sample of some rooms
    PYTHONPATH=tests/support python -m mutation --sample 0          all there are

Each mutant is made in a copy of the repository. The tests that mirror its module are run
(tests/support/mirror.py), then those beside them, then all that are not about texts, until some
notice. It ends with 1 if one survives that judged.tsv does not name; those that it names are not
tried.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import house
import mirror
from attrs import define, field, frozen
from paths import ROOT

from .mutants import Mutant, mutants_of

ROOMS: Final = ("_wire/", "_http/", "_operations/", "batch/", "durable/", "web/")
"""Where money, tokens, files, secrets and time are."""

JUDGED: Final = Path(__file__).with_name("judged.tsv")
REASONS: Final = ("equivalent", "text", "counter")
"""Why one may survive: the same program, a text or log, a number that only bounds work."""

ABOUT_TEXTS: Final = ("package", "readme", "support")
"""Folders of tests that read the code, or do not run it."""

_SLOWER: Final = 5.0  # times as long as without the mutant: it hangs
_LEAST: Final = 60.0  # seconds


@frozen
class Case:
    """A mutant of a module, and the tests that should notice it."""

    file: str
    tests: tuple[str, ...]
    mutant: Mutant

    def __str__(self) -> str:
        mutant = self.mutant
        return f"{self.file}:{mutant.line}: {mutant.before}  ->  {mutant.after}"

    @property
    def beside(self) -> tuple[str, ...]:
        """The tests in the folders of those that mirror its module."""
        folders = {(ROOT / test).parent for test in self.tests}
        found = sorted(test for folder in folders for test in folder.glob("test_*.py"))
        return tuple(str(test.relative_to(ROOT)) for test in found)

    @property
    def key(self) -> tuple[str, str, str]:
        """What judged.tsv knows it by: lines move."""
        return self.file, self.mutant.before, self.mutant.after


def cases(prefixes: tuple[str, ...]) -> list[Case]:
    """All mutants of the modules whose path in the package begins with one of the prefixes."""
    files = house.modules()
    found = []
    for module in mirror.mirrored():
        file = files[module].relative_to(ROOT / house.NAME).as_posix()
        if file.startswith(prefixes):
            tests = tuple(str(test.relative_to(ROOT)) for test in mirror.test_files(module))
            source = files[module].read_text("utf-8")
            found += [Case(file, tests, mutant) for mutant in mutants_of(source)]
    return found


def judged() -> dict[tuple[str, str, str], str]:
    """The survivors that people have looked at, with the reason why each may survive."""
    found = {}
    for line in JUDGED.read_text("utf-8").splitlines():
        reason, file, before, after, why = line.split("\t")
        if reason not in REASONS or not why:
            raise ValueError(f"judged.tsv: {reason!r} is none of {REASONS}, or has no argument")
        found[file, before, after] = reason
    return found


@define(eq=False)
class Copy:
    """A copy of the repository, in which one mutant at a time lives."""

    root: Path
    _usual: dict[tuple[str, ...], float] = field(factory=dict, init=False)

    @classmethod
    def made(cls, root: Path) -> Copy:
        """Copy what git knows of the work tree, as it is now."""
        names = subprocess.check_output(("git", "ls-files", "-z"), cwd=ROOT, text=True)  # noqa: S607
        for name in names.rstrip("\0").split("\0"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, root / name)
        return cls(root)

    @property
    def _all(self) -> tuple[str, ...]:
        folders = (self.root / "tests").iterdir()
        names = sorted(path.name for path in folders if path.is_dir())
        return "-nauto", *(f"tests/{name}" for name in names if name not in ABOUT_TEXTS)

    def survives(self, case: Case) -> bool:
        """Whether the tests pass with the mutant."""
        return all(self._survives(case, tests) for tests in (case.tests, case.beside, self._all))

    def _survives(self, case: Case, tests: tuple[str, ...]) -> bool:
        if tests not in self._usual:
            begun = time.monotonic()
            # Asked twice: a run of an hour does not end for one test on a busy machine.
            if not self._passes(tests, None) and not self._passes(tests, None):
                sys.exit(f"fails without any mutant: {' '.join(tests)}")
            self._usual[tests] = time.monotonic() - begun
        path = self.root / house.NAME / case.file
        before = path.read_text("utf-8")
        _replace(path, case.mutant.source)
        try:
            return self._passes(tests, _LEAST + _SLOWER * self._usual[tests])
        finally:
            _replace(path, before)

    def _passes(self, tests: tuple[str, ...], patience: float | None) -> bool:
        environment = os.environ | {"PYTHONPATH": str(self.root)}
        command = (sys.executable, "-m", "pytest", "-qx", "-p", "no:cacheprovider", *tests)
        with subprocess.Popen(  # noqa: S603
            command,
            cwd=self.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            try:
                return process.wait(patience) == 0
            except subprocess.TimeoutExpired:
                return False
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)


def _replace(path: Path, source: str) -> None:
    """Write a module. Its bytecode goes: two mutants of one second and one size would share it."""
    path.write_text(source, "utf-8")
    for kept in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        kept.unlink()


def main() -> None:
    """Take the sample, run it, and name those that survive."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--of", nargs="+", default=ROOMS, help="paths in the package begin so")
    parser.add_argument("--sample", type=int, default=300, help="0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    known = judged()
    chosen = cases(tuple(arguments.of))
    total = len(chosen)
    if 0 < arguments.sample < total:
        chosen = random.Random(arguments.seed).sample(chosen, arguments.sample)
    print(f"{len(chosen)} of {total} mutants, seed {arguments.seed}", flush=True)  # noqa: T201
    tried = [case for case in chosen if case.key not in known]
    survive = len(_survivors(tried, arguments.processes))
    noticed = len(tried) - survive
    print(f"{noticed} noticed, {len(chosen) - len(tried)} judged before, {survive} survive")  # noqa: T201
    sys.exit(bool(survive))


def _survivors(chosen: list[Case], processes: int) -> list[Case]:
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(processes) as pool:

        def share(number: int) -> list[Case]:
            copy = Copy.made(Path(folder) / str(number))
            found = []
            for case in sorted(chosen[number::processes], key=lambda case: case.file):
                survives = copy.survives(case)
                print(f"{'SURVIVES' if survives else 'noticed '} {case}", flush=True)  # noqa: T201
                found += [case] if survives else []
            return found

        return [case for part in pool.map(share, range(processes)) for case in part]


if __name__ == "__main__":
    main()
