"""Which job an id means, and whether two jobs buy the same. Pure, except for links in paths."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final

from smspartner_async.batch._job import case_folded, preview

if TYPE_CHECKING:
    from collections.abc import Iterable

_NOT_BOUGHT: Final = ("max_total", "path")
"""The fields of a job that do not change what it buys."""
NO_INTEREST: Final = 999_999_999
"""The interest in the targeting of a cleaned job: the vendor has no such interest."""


def same_id(job_id: str, ids: Iterable[str]) -> str | None:
    """Return which of `ids` is meant by `job_id`, if any.

    That is the same id, or else the only one that differs from it in case or in the encoding of
    its accents: file systems treat such names as one.

    Raises:
        ValueError: several ids differ from it in this way.
    """
    known = set(ids)
    if job_id in known:
        return job_id
    alike = sorted(id for id in known if case_folded(id) == case_folded(job_id))  # noqa: A001 - the field
    if len(alike) > 1:
        raise ValueError(f"Job {job_id!r} may be any of {preview(alike)}: write its id exactly.")
    return alike[0] if alike else None


def is_cleaned(content: str) -> bool:
    """Whether what a job asked for was removed from its content."""
    return bool(json.loads(content)["targeting"]["interest"] == NO_INTEREST)


def differences(one: str, other: str) -> tuple[str, ...]:
    """Return the names of the fields in which two contents differ; of a cleaned one, nobody knows.

    `one` is that of the store.
    """
    if is_cleaned(one):
        return ()
    here, there = _comparable(one), _comparable(other)
    return tuple(name for name in here if here[name] != there.get(name))


def buys_the_same(fields: Iterable[str]) -> bool:
    """Whether contents that differ in these fields buy the same contacts."""
    return set(fields) <= set(_NOT_BOUGHT)


def _comparable(content: str) -> dict[str, Any]:
    """Return the fields of a content: areas and volumes as sets, the path as the file it is."""
    fields = json.loads(content)
    targeting = {
        name: sorted(set(value)) if isinstance(value, list) else value
        for name, value in fields["targeting"].items()
    }
    return {
        **targeting,
        "volumes": fields["volumes"] or None,
        "max_total": fields["max_total"],
        "path": case_folded(os.path.realpath(fields["path"])),  # over another spelling, or a link
    }
