"""`_user.py DB URL CALLS` makes some calls, says how many rows are written and lost, and waits for a line."""

from __future__ import annotations

import logging
import os
import sys

import anthropic

import claudetrace


def main(db: str, url: str, calls: str) -> None:
    os.umask(int(os.environ["TEST_UMASK"], 8))
    logging.basicConfig(level="WARNING")
    budget = claudetrace.Budget("each", usd=9, per="total", tags={"user": "*"}, forecast=False)
    with (
        claudetrace.instrument(db=db, budgets=[budget]) as running,
        claudetrace.tag(user=f"of {os.getuid()}"),
        anthropic.Anthropic(api_key="k", base_url=url, max_retries=0) as client,
    ):
        for _ in range(int(calls)):
            client.messages.create(model="claude-sonnet-5", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
        running.flush(3)
        print(running.health.written, running.health.lost, flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
