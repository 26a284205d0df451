"""Files that list the jobs of a batch, as CSV or JSON Lines: read whole, and checked whole."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from attrs import define, field

from smspartner_async._errors import SMSPartnerError, TargetingError
from smspartner_async._models import Targeting
from smspartner_async._redaction import without_numbers
from smspartner_async._values.volumes import checked_volumes, parse_volumes

from ._job import RentalJob, case_folded, checked_id

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping

_T = TypeVar("_T")

_REQUIRED: Final = ("id", "gender", "min_age", "max_age")
_JSON_LINES: Final = (".jsonl", ".ndjson", ".json")

_SUFFIX: Final = re.compile(r"[A-Za-z0-9]{1,16}(\.[A-Za-z0-9]{1,16})?")
_WHOLE: Final = re.compile(r"[0-9]{1,9}")
_MONEY: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,3}0*)?")  # the vendor counts in thousandths
# Three decimals behind a comma could be somebody's thousands.
_FRENCH_MONEY: Final = re.compile(r"([0-9]{1,9}),([0-9]{1,2})")
_SEPARATOR_LINE: Final = re.compile(r'"?sep=(?P<mark>[;,\t])"?,*\s*', re.IGNORECASE)  # Excel's
# Somebody will take a file of contacts for the file of jobs: its numbers are not for messages.
_SHOWN: Final = 200  # characters of one problem
_LISTED: Final = 10  # problems in the error's own words


class JobFileError(SMSPartnerError, ValueError):
    """A file of jobs cannot be used as it is. Nothing was sent.

    Attributes:
        problems: everything that is wrong, as triples of line (from 1 on), field (`""` for the
            line as a whole) and what is wrong with it.
    """

    def __init__(self, name: str, problems: tuple[tuple[int, str, str], ...]) -> None:
        listed = [
            f"line {line}, {column}: {what}" if column else f"line {line} {what}"
            for line, column, what in problems[:_LISTED]
        ]
        if len(problems) > _LISTED:
            listed.append(f"{len(problems) - _LISTED} more, which .problems names")
        super().__init__(f"{name} cannot be used; nothing was sent. {'; '.join(listed)}.")
        self.problems = problems


def read_jobs(
    file: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    *,
    suffix: str = "csv",
) -> tuple[RentalJob, ...]:
    """Read the jobs of a batch, from JSON Lines where the file's name says so, or else from CSV.

    Both are UTF-8. A CSV begins with the names of its columns, in any order, parted by commas,
    semicolons or tabs: `id, gender, min_age, max_age` and, where needed, `interest,
    sub_interest, category, departments, zipcodes, volumes, max_total`. Several areas are parted by
    spaces or commas, volumes are written `60200:20 06200:10` or with `=`, and money `12.50`; where
    semicolons or tabs part the columns, as a French Excel does it, also `12,50`. JSON Lines
    (`.jsonl`, `.ndjson`, `.json`) has an object of the same names on each line; areas may also be
    a list, and volumes an object.

    >>> [job.id for job in read_jobs("jobs.csv", "out")]
    ['north', 'south']

    Args:
        file: the file to read.
        directory: where the files of the jobs go, each as `<id>.<suffix>`.
        suffix: of these files, without its point.

    Raises:
        JobFileError: something is wrong with some of it; `.problems` names every bad field.
        ValueError: a suffix that is none.
        OSError: the file cannot be read.
    """
    path = Path(file)
    json_lines = path.suffix.lower() in _JSON_LINES
    return parse_jobs(
        path.read_bytes(), directory, suffix=suffix, json_lines=json_lines, name=path.name
    )


def parse_jobs(
    data: bytes,
    directory: str | os.PathLike[str],
    *,
    suffix: str = "csv",
    json_lines: bool = False,
    name: str = "The list of jobs",
) -> tuple[RentalJob, ...]:
    r"""Read jobs as `read_jobs` does, from what a file holds.

    >>> lines = b"id,gender,min_age,max_age,interest\nnorth,mixed,18,98,12"
    >>> [job.id for job in parse_jobs(lines, "out")]
    ['north']
    """
    if not _SUFFIX.fullmatch(suffix):
        raise ValueError(f"suffix must be letters and digits such as 'csv', not {suffix!r}")
    reading = _Reading(Path(directory), suffix)
    jobs = reading.jobs(data, json_lines=json_lines)
    if reading.problems:
        raise JobFileError(name, tuple(reading.problems))
    return jobs


@define
class _Reading:
    """One file being read: its problems are collected, and do not stop the reading."""

    directory: Path
    suffix: str
    problems: list[tuple[int, str, str]] = field(factory=list, init=False)
    french: bool = field(default=False, init=False)
    """Whether a comma may stand before the cents, since none parts the columns."""
    _missing: set[str] = field(factory=set, init=False)
    _lines: dict[str, int] = field(factory=dict, init=False)

    def jobs(self, data: bytes, *, json_lines: bool) -> tuple[RentalJob, ...]:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            self._name(
                line, "", "is not UTF-8; save the file with this encoding (CSV UTF-8 in Excel)"
            )
            return ()
        rows = self._json_rows(text) if json_lines else self._csv_rows(text)
        return tuple(job for row in rows if (job := self._job(*row)) is not None)

    def _csv_rows(self, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
        lines = text.splitlines() or [""]
        start = next((number for number, line in enumerate(lines) if line.strip(" ,;\t")), 0)
        if separator := _SEPARATOR_LINE.fullmatch(lines[start]):
            delimiter = separator["mark"]
            text = text.replace(lines[start], "", 1)  # its line end stays, and the lines' numbers
        else:
            delimiter = next((mark for mark in ";\t" if mark in lines[start]), ",")
        self.french = delimiter != ","
        # Not strict, a quote that is never closed would swallow the rest of the jobs.
        reader = csv.reader(
            StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True
        )
        header: list[str] = []
        next_line = 1
        try:
            for row in reader:
                line, next_line = next_line, reader.line_num + 1
                cells = [cell.strip() for cell in row]
                if not any(cells):
                    continue
                if not header:
                    header = self._header(line, cells)
                    if not header:
                        return
                elif len(cells) < len(header) or any(cells[len(header) :]):
                    # Cut short, it could have lost its max_total.
                    what = f"has {len(cells)} fields, and the header {len(header)}"
                    self._name(line, "", what)
                else:
                    # Not strict: spreadsheets add empty cells.
                    named = zip(header, cells, strict=False)
                    yield line, {name: cell or None for name, cell in named}
        except csv.Error as error:
            self._name(next_line, "", f"is not CSV from here on: {error}")
        if not header and not self.problems:
            self._header(1, [])

    def _header(self, line: int, cells: list[str]) -> list[str]:
        while cells and not cells[-1]:
            cells.pop()
        names = Counter(cell.lower() for cell in cells)
        if not {*names} & {*COLUMNS}:
            # One sentence: whatever else could be said of any line follows from it.
            known = f"{', '.join(_REQUIRED)}, interest"
            self._name(line, "", f"must name the columns, such as {known}, before the first job")
            return []
        self._name_unknown(line, names)
        for name in (name for name, times in names.items() if times > 1):
            self._name(line, name, "is the name of several columns")
        needed = _REQUIRED if "sub_interest" in names else (*_REQUIRED, "interest")
        self._missing = {name for name in needed if name not in names}
        for name in sorted(self._missing):
            self._name(line, name, "this column is missing")
        return [cell.lower() for cell in cells]

    def _json_rows(self, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
        for line, row in enumerate(text.split("\n"), 1):
            if not row.strip():
                continue
            try:
                # Numbers stay text, as in CSV: each field knows itself what it takes.
                values = json.loads(
                    row, parse_int=str, parse_float=str, object_pairs_hook=_each_once
                )
            except json.JSONDecodeError as error:
                self._name(line, "", f"is not JSON at column {error.colno}: {error.msg}")
            except RecursionError:
                self._name(line, "", "is JSON that is nested too deep")
            except ValueError as error:
                self._name(line, "", str(error))
            else:
                if isinstance(values, dict):
                    self._name_unknown(line, values)
                    yield line, {name: _flat(value) for name, value in values.items()}
                else:
                    self._name(line, "", "is not a JSON object: each line holds one job, {...}")

    def _job(self, line: int, values: Mapping[str, Any]) -> RentalJob | None:
        """Make the job of one row, or name everything that is wrong with it."""
        problems: list[tuple[str, str]] = []

        def tried(name: str, make: Callable[[], _T]) -> _T | None:
            try:
                return make()
            except TargetingError as error:
                problems.extend(error.problems)
            except ValueError as error:
                problems.append((name, str(error)))
            return None

        id = tried("id", lambda: self._id(line, values.get("id")))  # noqa: A001 - what it is
        texts = {name: read(values.get(name)) for name, read in _TARGETING.items()}
        targeting = tried("targeting", lambda: Targeting(**texts))
        volumes = tried("volumes", lambda: checked_volumes(_volumes(values.get("volumes"))))
        max_total = tried("max_total", lambda: _money(values.get("max_total"), french=self.french))
        for name, what in problems:
            if name not in self._missing:
                empty = name in _REQUIRED and values.get(name) in (None, "")
                self._name(line, name, "is missing or empty" if empty else what)
        if problems or id is None or targeting is None:
            return None
        path = self.directory / f"{id}.{self.suffix}"
        return RentalJob(
            id=id, targeting=targeting, volumes=volumes, max_total=max_total, path=path
        )

    def _id(self, line: int, value: object) -> str:
        known = checked_id(value)
        first = self._lines.setdefault(case_folded(known), line)
        if first != line:
            raise ValueError(f"{known!r} is also the id in line {first}")
        return known

    def _name_unknown(self, line: int, names: Iterable[str]) -> None:
        for name in names:
            if name not in COLUMNS:
                self._name(line, name, f"is not one of {', '.join(COLUMNS)}")

    def _name(self, line: int, name: str, what: str) -> None:
        self.problems.append((line, name if name in COLUMNS else _shown(name), _shown(what)))


# What these cannot read they leave as it is, for the model to name as wrong.


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, str) and _WHOLE.fullmatch(value) else value


def _areas(value: Any) -> Any:
    return re.split(r"[\s,]+", value.strip(" ,")) if isinstance(value, str) else value


_TARGETING: Final[Mapping[str, Callable[[Any], Any]]] = {
    "gender": _lower,
    "min_age": _whole,
    "max_age": _whole,
    "interest": _whole,
    "sub_interest": _whole,
    "category": _lower,
    "departments": _areas,
    "zipcodes": _areas,
}
COLUMNS: Final = ("id", *_TARGETING, "volumes", "max_total")


def _volumes(value: Any) -> Any:
    if isinstance(value, str):
        return parse_volumes(value)
    if isinstance(value, dict):
        return {area: _whole(number) for area, number in value.items()}
    return value


def _money(value: Any, *, french: bool) -> Decimal | None:
    if value is None:
        return None
    if french and isinstance(value, str) and (cents := _FRENCH_MONEY.fullmatch(value)):
        return Decimal(f"{cents[1]}.{cents[2]}")
    # Neither is guessed at: "1,250" may be a thousand times another's "1,250".
    if not isinstance(value, str) or not _MONEY.fullmatch(value):
        raise ValueError(
            f"must be an amount such as 12.50, with a point, no more than three decimals and "
            f"nothing else, not {value!r}"
        )
    return Decimal(value)


def _each_once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict, in which no later value may silently replace an earlier one."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} is given twice")
        found[name] = value
    return found


def _flat(value: Any) -> Any:
    """Make JSON what a row of CSV holds, or a list or an object of that; `...` for anything deeper.

    Nothing is nested, and everything can be shown.
    """
    if isinstance(value, list):
        return [_cell(item) for item in value]
    if isinstance(value, dict):
        return {name: _cell(item) for name, item in value.items()}
    return _cell(value)


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return value.strip() or None
    return "..." if isinstance(value, list | dict) else value


def _shown(text: str) -> str:
    """Make a foreign text one short line, without telephone numbers."""
    line = "".join(c if c.isprintable() else " " for c in text)
    line = without_numbers(line)
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
