"""The ledger held against Anthropic's own figures of usage and cost."""
