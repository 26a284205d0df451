"""The rents in the journals of a folder that a store may not know.

A database that was restored from a backup, or created again, is older than the journals beside it.
The jobs that they name may be paid for, and such a store does not rent them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field, frozen

from smspartner_async._files import parse_lines, read_file
from smspartner_async._log import log
from smspartner_async.batch._job import case_folded

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    from ._records import Claim


@frozen
class JournaledClaim:
    """A claim in a journal: a rent that was about to be sent.

    Attributes:
        content: what the job buys, as JSON.
        line: the line of the claim, as it stands in the journal.
        claim: the claim as a store holds it, with what was paid, if the token's line has it.
        token: of the rental, if the answer came.
    """

    job: str
    run: int
    content: str
    line: dict[str, Any]
    claim: Claim
    token: str | None = None


@define(eq=False)
class JournalClaims:
    """The claims of a folder of journals that were not given back.

    Attributes:
        store_id: the store that asks. Lines of other stores do not count.
        beside_store: whether the folder belongs to one SQLite file. Then all lines count, because
            another store id means that the file was replaced.
        unreadable: the journals that cannot be read, and why. They may name any job.
    """

    store_id: str
    beside_store: bool
    unreadable: list[str] = field(factory=list, init=False)
    _claims: dict[str, dict[str, JournaledClaim]] = field(factory=dict, init=False)

    def add(self, line: dict[str, Any], worker: str, path: Path) -> None:
        """Apply one line of a journal."""
        if "nonce" not in line or "job" not in line:
            return
        counts = line.get("store") == self.store_id or self.beside_store
        of_job = self._claims.setdefault(case_folded(line["job"]), {})
        if "sending" in line and counts:
            claim: Claim = {
                "nonce": line["nonce"],
                "worker": worker,
                "journal": str(path),
                "claimed_at": line["at"],
                "balance_before": None,
                "balance_before_at": None,
                "price": None,
            }
            found = JournaledClaim(line["job"], line["run"], line["sending"], line, claim)
            of_job[line["nonce"]] = found
        elif "token" in line and line["nonce"] in of_job:
            known = of_job[line["nonce"]]
            claim = {**known.claim, "price": line.get("price")}
            of_job[line["nonce"]] = evolve(known, claim=claim, token=line["token"])
        elif line.get("given_back"):
            of_job.pop(line["nonce"], None)

    def unknown(self, job_id: str, run: int, known: Collection[str]) -> JournaledClaim | None:
        """Return a claim of a job that its store, where the job is in `run`, does not know.

        `known` are the ids of the claims that the store knows, of all runs. Of several, return one
        with a token.
        """
        found = [
            claim
            for claim in self._claims.get(case_folded(job_id), {}).values()
            if claim.claim["nonce"] not in known
            # Release 0.1 did not keep the claims of earlier runs, which were settled.
            and (claim.run >= run or claim.line.get("store") is not None)
        ]
        return max(found, key=lambda claim: (claim.token is not None, claim.run), default=None)

    def job_ids(self) -> Collection[str]:
        """Return the ids of all jobs with claims, case-folded."""
        return self._claims.keys()


def claims_in(folder: Path, store_id: str, *, beside_store: bool) -> JournalClaims:
    """Read the claims in all journals of a folder, for one store."""
    claims = JournalClaims(store_id, beside_store)
    for path, lines in read_journals(folder, claims.unreadable):
        worker = worker_of(lines) or ""
        for line in lines:
            claims.add(line, worker, path)
    return claims


def worker_of(lines: Iterable[dict[str, Any]]) -> str | None:
    """Return the id of the worker that wrote a journal, from the first line that names it."""
    return next((str(line["worker"]) for line in lines if "worker" in line), None)


def read_journals(
    folder: Path, unreadable: list[str] | None = None
) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    """Yield path and lines of each readable journal of a folder; name the others in a list."""
    for path in sorted(folder.glob("*.jsonl")):
        try:
            yield path, parse_lines(read_file(path))
        except OSError as error:
            log.warning("journal %s cannot be read: %s", path, error)
            if unreadable is not None:
                unreadable.append(f"{path}: {error.strerror}")
