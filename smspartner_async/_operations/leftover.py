"""Parts of earlier downloads that nothing proves whole. Blocking calls."""

from __future__ import annotations

import os
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from attrs import frozen

from smspartner_async._files import PRIVATE, open_file

from .sidecar import Sidecar

_CHUNK: Final = 2**16


@frozen
class Leftover:
    """A file at a name that a part may have.

    Attributes:
        path: where it is.
        size: bytes.
        token: its rental; `None` where no sidecar names one: then it is another program's, or of
            release 0.1, and is never removed.
    """

    path: Path
    size: int
    token: str | None

    def described(self) -> str:
        """Say what it is, and that it is left as it is."""
        known, unknown = "an earlier download of this rental", "release 0.1 or of another program"
        return (
            f"{self.path} holds {self.size} bytes of {known if self.token else unknown}. Nothing "
            "proves them whole, so they are left as they are: look at them before you delete them."
        )

    def begins_like(self, fd: int) -> bool:
        """Return whether it and the open file `fd` agree in all bytes that both have."""
        try:
            found = open_file(self.path, os.O_RDONLY | PRIVATE)
            with os.fdopen(found, "rb") as theirs, os.fdopen(os.dup(fd), "rb") as ours:
                ours.seek(0)
                while (chunk := theirs.read(_CHUNK)) and (mine := ours.read(_CHUNK)):
                    shorter = min(len(mine), len(chunk))
                    if mine[:shorter] != chunk[:shorter]:
                        return False
        except OSError:  # unreadable: nothing is done to it
            return False
        return True

    def remove(self) -> None:
        """Remove it and its sidecar, unless another download has claimed it meanwhile."""
        with suppress(OSError), closing(Sidecar.open(self.path)) as sidecar:
            if self.token is not None and sidecar.token == self.token:
                self.path.unlink(missing_ok=True)
                Path(f"{self.path}.plain").unlink(missing_ok=True)
                sidecar.remove()
