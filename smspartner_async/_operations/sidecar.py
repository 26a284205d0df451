"""The sidecar of a `.part` file, `<part>.json`: its rental, and the proof that it is whole.

With it, a later process can finish the file after a crash without asking the vendor, and knows this
package's files from those of other programs. Blocking calls.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from attrs import asdict, define, frozen

from smspartner_async._files import JsonLines
from smspartner_async._wire.reply import announced_length, encodings_of, is_chunked

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGEST: Final = 2**24  # bytes: a larger one is another program's, and is not read
SUFFIX: Final = ".json"
Framing = Literal["length", "chunked", "close"]


@frozen
class ReplyFacts:
    """What the head of a reply says about its body.

    Attributes:
        status: the HTTP status.
        framing: what ends the body: its length, a last chunk, or the end of the connection, which
            proves nothing.
        length: bytes, where they were announced.
        encoding: how the body is compressed, in lower case; empty where it is not.
    """

    status: int
    framing: Framing
    length: int | None
    encoding: str

    @classmethod
    def of(cls, status: int, headers: Mapping[str, str]) -> ReplyFacts:
        """Read a head. `headers` is looked up without regard to case."""
        length = None if is_chunked(headers) else announced_length(headers)
        framing: Framing = "close" if length is None else "length"
        return cls(
            status,
            "chunked" if is_chunked(headers) else framing,
            length,
            ", ".join(encodings_of(headers)),
        )

    def proves(self, size: int) -> bool:
        """Return whether a body of this size that ended without an error is whole."""
        return self.framing == "chunked" or size == self.length


@frozen
class Digest:
    """Size in bytes and SHA-256 of a file."""

    size: int
    sha256: str


@define(eq=False)
class Sidecar:
    """The file beside one part, locked while it is open.

    Attributes:
        token: the rental of the last attempt; empty where there was none.
        reply: the facts of its reply; `None` where none came.
        whole: size and digest of the whole part; `None` where it is not proven whole.
        plain: size and digest of its decompressed copy; `None` where there is none.
        is_refused: whether the part is known to be no contact file.
        is_foreign: whether the file is another program's, and must not be changed.
    """

    _lines: JsonLines
    token: str = ""
    reply: ReplyFacts | None = None
    whole: Digest | None = None
    plain: Digest | None = None
    is_refused: bool = False
    is_foreign: bool = False

    @classmethod
    def path_of(cls, part: Path) -> Path:
        """Return the path of a part's sidecar."""
        return Path(f"{part}{SUFFIX}")

    @classmethod
    def open(cls, part: Path) -> Sidecar:
        """Open, lock and read the sidecar of a part; an empty one is created where none is.

        Raises:
            BlockingIOError: it is in use.
            OSError: it cannot be opened.
        """
        sidecar = cls(JsonLines.open(cls.path_of(part)))
        try:
            size = sidecar._lines.size
            for line in sidecar._lines.read() if 0 < size <= LARGEST else ():
                sidecar._take(line)
            sidecar.is_foreign = bool(size) and not sidecar.token
        except BaseException:
            sidecar.close()
            raise
        return sidecar

    def begin(self, token: str) -> None:
        """Record that an attempt for a rental begins."""
        self._append({"token": token})

    def sync(self) -> None:
        """Sync what was recorded, and the file's name, to the disk."""
        self._lines.sync()

    def note_reply(self, reply: ReplyFacts) -> None:
        """Record what a head said."""
        self._append(asdict(reply))

    def note_whole(self, whole: Digest) -> None:
        """Record that the part is whole, and sync it."""
        self._append({"whole": asdict(whole)})
        self._lines.sync()

    def note_plain(self, plain: Digest) -> None:
        """Record size and digest of the decompressed copy, and sync it."""
        self._append({"plain": asdict(plain)})
        self._lines.sync()

    def note_refused(self) -> None:
        """Record that the part is no contact file."""
        self._append({"refused": True})

    def close(self) -> None:
        """Close the file, and give up its lock."""
        self._lines.close()

    def remove(self) -> None:
        """Remove it, after its part."""
        self._lines.remove()

    def _append(self, line: dict[str, Any]) -> None:
        self._lines.append(line)
        self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        """Apply one line; a later attempt replaces what earlier ones recorded."""
        match line:
            case {"token": str(token)}:
                self.token, self.reply, self.is_refused = token, None, False
                self.whole = self.plain = None
            case {"status": int(status), "framing": framing, "length": length, "encoding": str(e)}:
                self.reply = ReplyFacts(status, framing, length, e)
            case {"whole": {"size": int(size), "sha256": str(sha256)}}:
                self.whole = Digest(size, sha256)
            case {"plain": {"size": int(size), "sha256": str(sha256)}}:
                self.plain = Digest(size, sha256)
            case {"refused": True}:
                self.is_refused = True
