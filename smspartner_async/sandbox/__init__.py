"""A stand-in for SMS Partner's contact rental on localhost, where renting costs nothing.

It is written from the vendor's manual alone and shares no code with the client, so that one
mistake cannot sit on both sides of a test.

    async with Sandbox() as sandbox:
        ...  # talk to sandbox.base_url with sandbox.api_key
        print(sandbox.paid, sandbox.rentals, sandbox.requests)
"""

from ._account import SandboxRental
from ._command import run, serve
from ._faults import Faults
from ._server import HasToken, Sandbox

__all__ = ["Faults", "HasToken", "Sandbox", "SandboxRental", "run", "serve"]
