"""The command line: it formats what the ledger says, and imports nothing before a command needs it."""

from claudetrace.cli._main import main

__all__ = ["main"]
