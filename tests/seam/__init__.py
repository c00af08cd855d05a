"""The seam, proven from outside: the real SDK over HTTP on loopback, and what the ledger says afterwards."""
