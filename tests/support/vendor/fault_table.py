"""The table of all faults, with the facts of each that a truth table builds on."""

from collections.abc import Callable

from attrs import frozen
from fault_server import Reply
from faults import (
    MEBIBYTE,
    both_framings,
    broken_chunks,
    broken_chunks_apart,
    busy,
    chunks_without_end,
    close_at_accept,
    close_before_head,
    close_within_body,
    close_within_head,
    closed_at_next_byte,
    closed_when_idle,
    continue_first,
    continue_then_close,
    continue_then_stall,
    drip_body,
    drip_head,
    empty,
    endless_body,
    garbage_status_line,
    gzip_bomb,
    gzip_cut,
    html,
    huge_header,
    length_too_long,
    length_too_long_open,
    length_too_short,
    length_too_short_apart,
    never_read,
    redirect_to_itself,
    reset_at_accept,
    reset_before_head,
    reset_within_body,
    reset_within_head,
    stall_before_head,
    stall_within_body,
    stall_within_head,
    until_close,
    until_close_cut,
    until_close_reset,
    vendor_error,
)


@frozen(kw_only=True)
class Fault:
    """A named fault, and what a test can rely on."""

    name: str
    make: Callable[[bytes], Reply]
    status: int | None = 200  # what the client sees; None when no head arrives or it is refused
    whole: bool = False  # a strict client gets the whole payload with status 200 nevertheless
    hangs: bool = False  # only the client's own timeout is sure to end it
    arrives: bool = True  # the server reads the request; False for what happens before

    def __str__(self) -> str:
        return self.name


def _fixed(make: Callable[..., Reply], *args: object) -> Callable[[bytes], Reply]:
    """A fault that takes nothing from the payload."""
    return lambda _: make(*args)


_FULL = {"success": False, "code": 429, "message": "Too many requests"}

_ROWS = (
    Fault(name="close at accept", make=_fixed(close_at_accept), status=None, arrives=False),
    Fault(name="reset at accept", make=_fixed(reset_at_accept), status=None, arrives=False),
    Fault(name="never read", make=_fixed(never_read), status=None, hangs=True, arrives=False),
    Fault(name="close before head", make=_fixed(close_before_head), status=None),
    Fault(name="close within head", make=close_within_head, status=None),
    Fault(name="close within body", make=close_within_body),
    Fault(name="reset before head", make=_fixed(reset_before_head), status=None),
    Fault(name="reset within head", make=reset_within_head, status=None),
    Fault(name="reset within body", make=reset_within_body),
    Fault(name="stall before head", make=stall_before_head, status=None, hangs=True),
    Fault(name="stall within head", make=stall_within_head, status=None, hangs=True),
    Fault(name="stall within body", make=stall_within_body, hangs=True),
    Fault(name="drip head", make=drip_head, whole=True),
    Fault(name="drip body", make=drip_body, whole=True),
    Fault(name="length too long", make=length_too_long),
    Fault(name="length too long, open", make=length_too_long_open, hangs=True),
    Fault(name="length too short", make=length_too_short, status=None),
    Fault(name="length too short, apart", make=length_too_short_apart),
    Fault(name="both framings", make=both_framings, status=None),
    Fault(name="until close", make=until_close, whole=True),
    Fault(name="until close, cut", make=until_close_cut),
    Fault(name="until close, reset", make=until_close_reset),
    Fault(name="broken chunks", make=broken_chunks, status=None),
    Fault(name="broken chunks, apart", make=broken_chunks_apart, hangs=True),
    Fault(name="chunks without end", make=chunks_without_end),
    Fault(name="100, then reply", make=continue_first, whole=True),
    Fault(name="100, then close", make=_fixed(continue_then_close), status=None),
    Fault(name="100, then stall", make=_fixed(continue_then_stall), status=None, hangs=True),
    Fault(name="garbage status line", make=garbage_status_line, status=None),
    Fault(name="huge header", make=huge_header, status=None),
    Fault(name="gzip bomb", make=_fixed(gzip_bomb)),
    Fault(name="gzip cut", make=gzip_cut),
    Fault(name="endless body", make=_fixed(endless_body, 32 * MEBIBYTE)),
    Fault(name="HTML 200", make=_fixed(html, 200)),
    Fault(name="HTML 502", make=_fixed(html, 502), status=502),
    Fault(name="empty 200", make=_fixed(empty, 200)),
    Fault(name="empty 204", make=_fixed(empty, 204), status=204),
    Fault(name="redirect 301", make=_fixed(redirect_to_itself, 301), status=301),
    Fault(name="redirect 302", make=_fixed(redirect_to_itself, 302), status=302),
    Fault(name="redirect 307", make=_fixed(redirect_to_itself, 307), status=307),
    Fault(name="redirect 308", make=_fixed(redirect_to_itself, 308), status=308),
    Fault(name="429", make=_fixed(busy, 429), status=429),
    Fault(name="429 JSON", make=_fixed(busy, 429, None, _FULL), status=429),
    Fault(name="503", make=_fixed(busy, 503), status=503),
    Fault(name="503 JSON", make=_fixed(busy, 503, None, _FULL), status=503),
    Fault(name="500 JSON", make=_fixed(vendor_error, 500, "Error", 500), status=500),
    Fault(name="closed when idle", make=closed_when_idle, whole=True),
    Fault(name="closed at next byte", make=closed_at_next_byte, whole=True),
)

FAULTS: dict[str, Fault] = {fault.name: fault for fault in _ROWS}
