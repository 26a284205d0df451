"""The `smspartner` command: every operation of the client, a sandbox, and a demonstration."""

from ._app import main as main  # the entry point; for programs there is the client
