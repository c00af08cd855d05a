"""The thread on which transcripts are read: never the caller's event loop."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from claudetrace._clock import monotonic
from claudetrace._forks import in_child, notice

if TYPE_CHECKING:
    from collections.abc import Callable

_executor: ThreadPoolExecutor | None = None


def submit(job: Callable[[], None]) -> Future[None]:
    """Does `job` after those before it. What waits at the end of the program is done before the journal closes."""
    global _executor
    notice()
    if _executor is None:
        _executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="claudetrace-agents")
    return _executor.submit(job)


def flush(timeout_s: float) -> bool:
    """Whether all jobs that were submitted are done. Blocks at most `timeout_s`."""
    if _executor is None:
        return True
    try:
        submit(_nothing).result(max(0.0, timeout_s))
    except (TimeoutError, RuntimeError):
        return False
    return True


async def until_done(job: Future[Any], longest_s: float) -> None:
    """Waits for `job` while the event loop goes on, whichever it is, and no longer than `longest_s`."""
    import anyio

    until, nap_s = monotonic() + longest_s, 0.001
    while not job.done() and monotonic() < until:
        await anyio.sleep(nap_s)
        nap_s = min(2 * nap_s, 0.02)


def _nothing() -> None:
    """Comes after the jobs before it."""


def _forget() -> None:
    global _executor
    _executor = None


in_child(_forget)
