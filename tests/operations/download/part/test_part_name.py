"""Which name the part of a download takes, and what it passes over."""

import os
from pathlib import Path

import pytest
from downloads import ANOTHERS, FILE, OLDER, leave_behind

from smspartner_async._operations.leftover import Leftover
from smspartner_async._operations.part_name import PartState, claim_part, leftovers_of

HEAD = {"status": 200, "framing": "length", "length": len(FILE), "encoding": ""}


@pytest.mark.parametrize(("number", "state"), [(3, PartState.WHOLE), (4, PartState.USABLE)])
def test_names(tmp_path: Path, number: int, state: PartState) -> None:
    """A file: the names of a part are `x.part`, `x.part.1` and so on, up to a gap of four."""
    leave_behind(tmp_path / f"x.part.{number}", FILE, "tok", HEAD)
    claim = claim_part(tmp_path / "x", "tok")
    assert claim is not None
    claim.sidecar.close()
    name = f"x.part.{number}" if state is PartState.WHOLE else "x.part"
    assert (claim.part.name, claim.state) == (name, state)


def test_the_first_name_that_is_free(tmp_path: Path) -> None:
    """A file: others' files and parts that nothing proves whole are passed over, and named."""
    (tmp_path / "x.part").write_bytes(OLDER)
    leave_behind(tmp_path / "x.part.1", ANOTHERS, "another")
    claim = claim_part(tmp_path / "x", "tok")
    assert claim is not None
    claim.sidecar.close()
    assert (claim.part, claim.state) == (tmp_path / "x.part.2", PartState.USABLE)
    assert claim.leftovers == [
        Leftover(tmp_path / "x.part", len(OLDER), None),
        Leftover(tmp_path / "x.part.1", len(ANOTHERS), "another"),
    ]


@pytest.mark.parametrize("only_known", [False, True])
def test_a_whole_part_comes_first(tmp_path: Path, *, only_known: bool) -> None:
    """A file: the whole part of this rental is claimed before any free name."""
    leave_behind(tmp_path / "x.part.1", b"")
    leave_behind(tmp_path / "x.part.3", FILE, "tok", HEAD)
    claim = claim_part(tmp_path / "x", "tok", only_known=only_known)
    assert claim is not None
    claim.sidecar.close()
    assert (claim.part, claim.state) == (tmp_path / "x.part.3", PartState.WHOLE)


def test_a_look_claims_nothing(tmp_path: Path) -> None:
    """A file: where nothing is whole, looking for it leaves the folder as it was."""
    assert claim_part(tmp_path / "x", "tok", only_known=True) is None
    assert list(tmp_path.iterdir()) == []


def test_an_empty_part_is_used_again(tmp_path: Path) -> None:
    """A file: an empty part that a crash left does not pile up."""
    leave_behind(tmp_path / "x.part", b"", "another")
    claim = claim_part(tmp_path / "x", "tok")
    assert claim is not None
    claim.sidecar.close()
    assert (claim.part, claim.leftovers) == (tmp_path / "x.part", [])


def test_one_claim_at_a_time(tmp_path: Path) -> None:
    """A file: a second download to the same path is refused while the first holds its claim."""
    claim = claim_part(tmp_path / "x", "tok")
    assert claim is not None
    for only_known in (False, True):
        with pytest.raises(FileExistsError, match="Another download is writing"):
            claim_part(tmp_path / "x", "another", only_known=only_known)
    claim.sidecar.close()


def test_a_whole_part_is_locked(tmp_path: Path) -> None:
    """A file: one download finishes a whole part; a second one is refused meanwhile."""
    leave_behind(tmp_path / "x.part", FILE, "tok", HEAD)
    claim = claim_part(tmp_path / "x", "tok", only_known=True)
    assert claim is not None
    with pytest.raises(FileExistsError, match="Another download is writing"):
        claim_part(tmp_path / "x", "tok", only_known=True)
    claim.sidecar.close()


def test_the_leftovers_of_a_rental(tmp_path: Path) -> None:
    """A file: its parts are those whose sidecar names it; one over 16 MiB is no sidecar."""
    for number, token in enumerate(("tok", "another", "tok"), 1):
        leave_behind(tmp_path / f"x.part.{number}", OLDER, token)
    os.truncate(tmp_path / "x.part.3.json", 2**24 + 1)
    found = [(one.path.name, one.size) for one in leftovers_of(tmp_path / "x", "tok")]
    assert found == [("x.part.1", len(OLDER))]
