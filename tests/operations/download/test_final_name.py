"""A whole file gets its final name, and replaces nothing that it may not replace."""

import errno
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from downloads import contents

from smspartner_async._operations import final_name
from smspartner_async._operations.final_name import create_private, give_name


@pytest.fixture(params=["POSIX", "without hard links", "Windows"])
def _systems(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Play each kind of system. Windows' own rename() never replaces."""
    if request.param == "without hard links":
        monkeypatch.setattr(os, "link", refuse)
    elif request.param == "Windows":
        monkeypatch.setattr(final_name, "sys", SimpleNamespace(platform="win32"))
        monkeypatch.setattr(Path, "rename", rename_as_windows_does)
        # Needed by nothing: its drives need not have hard links.
        monkeypatch.setattr(os, "link", lambda *_, **__: pytest.fail("linked"))


def refuse(*_: object, **__: object) -> Any:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def rename_as_windows_does(source: Path, target: Path) -> None:
    if os.path.lexists(target):
        raise FileExistsError
    source.replace(target)


pytestmark = [
    pytest.mark.usefixtures("_systems"),
    pytest.mark.skipif(sys.platform == "win32", reason="plays the systems by POSIX means"),
]


def test_a_free_name(tmp_path: Path) -> None:
    """A file: a name that is free is taken, and the old one is gone."""
    (tmp_path / "a.part").write_bytes(b"new")
    give_name(tmp_path / "a.part", tmp_path / "a", overwrite=False)
    assert contents(tmp_path) == {"a": b"new"}


def test_a_name_that_is_taken(tmp_path: Path) -> None:
    """A file: a name that is taken is refused, and both files are as they were."""
    (tmp_path / "a.part").write_bytes(b"new")
    (tmp_path / "a").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        give_name(tmp_path / "a.part", tmp_path / "a", overwrite=False)
    assert contents(tmp_path) == {"a.part": b"new", "a": b"mine"}


def test_a_name_that_may_be_replaced(tmp_path: Path) -> None:
    """A file: with `overwrite` the name is given anew, in one step."""
    (tmp_path / "a.part").write_bytes(b"new")
    (tmp_path / "a").write_bytes(b"mine")
    give_name(tmp_path / "a.part", tmp_path / "a", overwrite=True)
    assert contents(tmp_path) == {"a": b"new"}


def test_an_empty_file_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    """What has the name already stays as it is, and nothing else is left in the folder."""
    made, there = tmp_path / "made", tmp_path / "there"
    there.write_bytes(b"older")
    create_private(made)
    create_private(there)
    assert contents(tmp_path) == {"made": b"", "there": b"older"}
    assert made.stat().st_mode & 0o777 == 0o600


def test_an_empty_file_that_another_process_has_made_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made after this one had looked: nothing of this one is left beside it."""
    there = tmp_path / "there"
    there.write_bytes(b"faster")
    really_there, looks = os.path.lexists, [False]
    monkeypatch.setattr(
        os.path, "lexists", lambda path: looks.pop() if looks else really_there(path)
    )
    create_private(there)
    assert contents(tmp_path) == {"there": b"faster"}


def test_an_empty_file_is_closed_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed later, it would cost other users of the file in this process their locks."""
    opened = Mock(wraps=os.open)
    monkeypatch.setattr(os, "open", opened)
    create_private(tmp_path / "made")
    assert opened.call_count == 1
    assert opened.call_args.args[0] != str(tmp_path / "made")
