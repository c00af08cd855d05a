"""Datasette pages for a ledger of claudetrace."""
