"""The description of the built package: on PyPI there are no files that a link could lead to."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from email import message_from_bytes
from typing import TYPE_CHECKING

import pytest
from paths import ROOT

from .test_readme_links import README, anchor

if TYPE_CHECKING:
    from pathlib import Path

LINK = re.compile(r"(!?)\[([^\]\[]*)\]\(([^)\s]+)\)")
BUILD = "import hatchling.build, sys; hatchling.build.build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def description(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What stands in the METADATA of a wheel that was just built."""
    pytest.importorskip("hatch_fancy_pypi_readme")
    folder: Path = tmp_path_factory.mktemp("wheel")
    subprocess.run(  # noqa: S603 - our own interpreter
        (sys.executable, "-c", BUILD, str(folder)), cwd=ROOT, check=True
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(name))
    assert metadata["Description-Content-Type"] == "text/markdown"
    payload = metadata.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode()


def test_every_link_of_the_description_leads_somewhere(description: str) -> None:
    """A link is absolute, or leads to a heading of the same page; no picture is missing."""
    headings = [anchor(text) for text in re.findall(r"^#+ (.+)$", description, re.MULTILINE)]
    found = LINK.findall(description)
    assert len(found) > 5
    assert ".assets" not in description
    for picture, _, target in found:
        assert target.startswith("https://") or (not picture and target[1:] in headings), target


def test_nothing_of_the_text_is_lost(description: str) -> None:
    """What a link says stands in the description, with the path of the file that it leads to."""
    assert "[" not in description.partition("## Read on")[2].partition("## Security")[0]
    links = dict(re.findall(r"([\w.-]+) \(([\w./-]+\.\w+)\)", description))
    assert links["durable"] == "smspartner_async/durable/README.md"
    assert "\nCHANGELOG.md says so." in description
    assert all((ROOT / path).is_file() for path in links.values())
    blocks = re.findall(r"^```.*?^```$", README, re.MULTILINE | re.DOTALL)
    assert len(blocks) > 5
    assert all(block in description for block in blocks)
