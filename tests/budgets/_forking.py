"""A program that forks while its budgets' store is locked: prints how many calls its child was let through, and says
what it logged."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time

import anthropic

import claudetrace

LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""
BUDGET = claudetrace.Budget("cap", max_calls=10, per="total", thresholds=(), on_exceeded="block")


def call(url: str, times: int) -> int:
    """How many of so many calls were let through."""
    made = 0
    with anthropic.Anthropic(api_key="k", base_url=url, max_retries=0) as client:
        for _ in range(times):
            try:
                client.messages.create(
                    model="claude-sonnet-5", max_tokens=100, messages=[{"role": "user", "content": "Say hello."}]
                )
                made += 1
            except claudetrace.BudgetExceeded:
                continue
    return made


def watched() -> threading.Event:
    """Set once the store's lock is waited for: whoever does sleeps between two tries."""
    waits, sleep = threading.Event(), time.sleep

    def noticing(seconds: float) -> None:
        if sys._getframe(1).f_code.co_name == "begin":
            waits.set()
        sleep(seconds)

    time.sleep = noticing
    return waits


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, format="%(process)d %(message)s")
    db, url = sys.argv[1:]
    claudetrace.instrument(db=db, budgets=[BUDGET])
    call(url, 4)
    assert claudetrace.flush(30)
    holder = subprocess.Popen(
        [sys.executable, "-c", LOCK, f"{db}.budgets"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdout.readline()
    waiting = threading.Thread(target=call, args=(url, 1))
    waits = watched()
    waiting.start()
    assert waits.wait(30)
    child = os.fork()
    if not child:
        print(os.getpid(), call(url, 20), flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    holder.stdin.close()
    holder.wait()
    waiting.join()
    assert claudetrace.flush(30)
