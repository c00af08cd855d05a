"""Calls that were written down elsewhere, brought into a ledger: other ledgers, journals, record lines, transcripts."""
