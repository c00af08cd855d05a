"""Alerts: the rules that raise them, the outbox they wait in, the sender and its channels."""
