"""Parts of a web service: one rent per order, one download per rental, its states as events.

It needs no web framework: a stream is bytes to write, a file is a path to send, and a problem is a
`dict` to send as JSON.
"""

from ._events import SSE_HEADERS, server_sent_events
from ._file_once import FileOnce
from ._problem import problem
from ._rent_once import RentOnce

__all__ = ["SSE_HEADERS", "FileOnce", "RentOnce", "problem", "server_sent_events"]
