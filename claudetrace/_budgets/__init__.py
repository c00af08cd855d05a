"""Budgets that hold: what a call may spend is reserved before it leaves, and settled when it has ended."""
