"""Compares the ledger with Anthropic's own figures of usage and cost."""
