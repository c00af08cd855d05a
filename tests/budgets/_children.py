"""A program whose children of multiprocessing call under its budget: prints how many calls were stopped."""

from __future__ import annotations

import multiprocessing
import sys

import anthropic

import claudetrace


def call(db: str, url: str, times: int) -> int:
    """How many of so many calls were stopped; the meter is inherited, or begun by the program's own set-up."""
    claudetrace.instrument(db=db, budgets=[BUDGET])
    client, stopped = anthropic.Anthropic(api_key="k", base_url=url, max_retries=0), 0
    for _ in range(times):
        try:
            client.messages.create(
                model="claude-sonnet-5", max_tokens=100, messages=[{"role": "user", "content": "Say hello."}]
            )
        except claudetrace.BudgetExceeded:
            stopped += 1
    return stopped


BUDGET = claudetrace.Budget("cap", max_calls=7, per="total", thresholds=(), on_exceeded="block")

if __name__ == "__main__":
    method, *where = sys.argv[1:]
    stopped = call(*where, 1)
    with multiprocessing.get_context(method).Pool(3) as pool:
        stopped += sum(pool.starmap(call, [(*where, 3)] * 3, chunksize=1))
        pool.close()
        pool.join()
    print(stopped)
