"""`python -m smspartner_async.cli` is the command."""

from . import main

main()
