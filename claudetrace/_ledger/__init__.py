"""The ledger: the journal that calls are appended to, the loader behind it, and the side that reads."""
