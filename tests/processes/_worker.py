"""A process of its own: `python _worker.py ENDING DB URL ACKS` makes calls in a burst and ends in some way. Without
arguments it starts such processes.

Each call that has returned is acknowledged in ACKS before the next is made, by the number that tags it.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic

import claudetrace

CALLS = 200
SLOW = 7
"""So many `max_tokens` are answered after half a second."""
ASK: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


def acknowledge(number: int) -> None:
    acks = os.open(sys.argv[4], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(acks, b"%d\n" % number)
    os.close(acks)


def burst(first: int = 0, calls: int = CALLS, **more: Any) -> None:
    client = anthropic.Anthropic(api_key="k", base_url=sys.argv[3], max_retries=0)
    for number in range(first, first + calls):
        with claudetrace.tag(number=number):
            if number % 5:
                client.messages.create(**{**ASK, **more})
            else:
                list(client.messages.create(**{**ASK, **more}, stream=True))
        acknowledge(number)


async def burst_async() -> None:
    async with anthropic.AsyncAnthropic(api_key="k", base_url=sys.argv[3], max_retries=0) as client:

        async def one(number: int) -> None:
            with claudetrace.tag(number=number):
                await client.messages.create(**ASK)
            acknowledge(number)

        for first in range(0, CALLS, 20):
            await asyncio.gather(*map(one, range(first, first + 20)))


def in_child(first: int) -> None:
    """What a child of multiprocessing runs: the meter is inherited, or begun by the user's own set-up."""
    claudetrace.instrument(db=sys.argv[2])
    burst(first, CALLS // 2)


def normal() -> None:
    burst()


def exception() -> None:
    burst()
    raise RuntimeError("the user's own")


def sys_exit() -> None:
    burst()
    sys.exit(3)


def own_signal(number: int) -> Callable[[], None]:
    def end() -> None:
        burst()
        os.kill(os.getpid(), number)
        time.sleep(30)

    return end


def sigterm_handled() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    burst()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)


def endless() -> None:
    """Ended by the test, in the midst of a call."""
    burst(calls=1_000_000)


def os_exit() -> None:
    burst()
    os._exit(0)


def asyncio_run() -> None:
    asyncio.run(burst_async())


def daemon_thread() -> None:
    """Calls go on in a daemon thread while the interpreter ends."""
    threading.Thread(target=burst, kwargs={"calls": 1_000_000}, daemon=True).start()
    while not os.path.exists(sys.argv[4]) or os.path.getsize(sys.argv[4]) < 600:  # noqa: PTH110, PTH202
        time.sleep(0.01)


def pool_at_exit() -> None:
    """Calls of a pool that nobody waits for: the interpreter does."""
    pool = ThreadPoolExecutor(4)
    for part in range(4):
        pool.submit(burst, part * 50, 50)


def later_atexit() -> None:
    """A handler that runs after the meter's own: it was registered before."""
    burst(calls=100)


def after_uninstrument() -> None:
    burst()
    claudetrace.uninstrument()
    os.kill(os.getpid(), signal.SIGKILL)


def fork_os_exit() -> None:
    """Parent and child both make calls after the fork, and the child ends hard."""
    burst(0, 50)
    child = os.fork()
    if not child:
        burst(1_000, 100)
        os._exit(0)
    burst(50, 50)
    assert os.waitpid(child, 0)[1] == 0


def fork_sigkill() -> None:
    """The parent goes on after its child was killed."""
    burst(0, 50)
    child = os.fork()
    if not child:
        claudetrace.instrument()
        burst(1_000, 100)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    burst(50, 50)


def fork_while_a_thread_waits() -> None:
    """Forks while another thread is in a call and the loader is loading. Not while threads send: in their child
    the SDK alone may hang, at the lock of a module that a thread was importing."""
    waiting = threading.Thread(target=burst, args=(0, 1), kwargs={"max_tokens": SLOW})
    waiting.start()
    children = []
    for first in range(1_000, 5_000, 1_000):
        burst(first, 45)
        children.append(os.fork())
        if not children[-1]:
            burst(first + 500, 20)
            os._exit(0)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    waiting.join()


def fork_before_any_call() -> None:
    """As a preloading server does: the meter is on, no call was made, and the parent makes none."""
    children = []
    for first in (0, 100):
        children.append(os.fork())
        if not children[-1]:
            burst(first, 100)
            os._exit(0)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0


def unseen_fork() -> int:
    """A fork of which Python hears nothing, as C code makes it."""
    return ctypes.PyDLL(None).fork()  # type: ignore[no-any-return]


def unseen(before: int, end_hard: Callable[[], object], generations: int = 1) -> Callable[[], None]:
    """Parent and child both make calls after a fork that Python does not see; so may the child's child."""

    def end() -> None:
        burst(0, before)
        if before:
            assert claudetrace.flush(30)
        for generation in range(1, generations + 1):
            child = unseen_fork()
            if child:
                burst(generation * 1_000 + 500, 40)
                status = os.waitpid(child, 0)[1]
                assert status in (0, signal.SIGKILL), status
                if generation > 1:
                    end_hard()
                return
            burst(generation * 1_000, 40)
        end_hard()

    return end


def unseen_fork_in_a_stream() -> None:
    """The child reads a stream on that the parent began, and the parent drops it unread."""
    client = anthropic.Anthropic(api_key="k", base_url=sys.argv[3], max_retries=0)
    with claudetrace.tag(number=1):
        stream = client.messages.create(**ASK, stream=True)
    child = unseen_fork()
    if not child:
        list(stream)
        acknowledge(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    os._exit(0)


def executed() -> None:
    """As Passenger starts its workers: a fresh process each, while the one that starts them has the ledger open."""
    burst(0, 20)
    environment = {**os.environ, "WORKER_FIRST": "1000"}
    child = os.posix_spawn(sys.executable, [sys.executable, __file__, "spawned", *sys.argv[2:]], environment)
    burst(20, 20)
    assert os.waitpid(child, 0)[1] == 0


def spawned() -> None:
    burst(int(os.environ["WORKER_FIRST"]), 40)
    os._exit(0)


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def multiprocess(method: str, *firsts: int) -> Callable[[], None]:
    def end() -> None:
        burst(0, 20)
        context = multiprocessing.get_context(method)
        children = [context.Process(target=in_child, args=(first,)) for first in firsts]
        for child in children:
            child.start()
        burst(20, 20)
        for child in children:
            child.join()
            assert child.exitcode == 0

    return end


ENDINGS: dict[str, Callable[[], None]] = {
    "normal": normal,
    "exception": exception,
    "sys_exit": sys_exit,
    "sigterm": own_signal(signal.SIGTERM),
    "sigint": own_signal(signal.SIGINT),
    "sigkill": own_signal(signal.SIGKILL),
    "sigterm_handled": sigterm_handled,
    "endless": endless,
    "os_exit": os_exit,
    "asyncio_run": asyncio_run,
    "daemon_thread": daemon_thread,
    "pool_at_exit": pool_at_exit,
    "later_atexit": later_atexit,
    "after_uninstrument": after_uninstrument,
    "fork_os_exit": fork_os_exit,
    "fork_sigkill": fork_sigkill,
    "fork_while_a_thread_waits": fork_while_a_thread_waits,
    "fork_before_any_call": fork_before_any_call,
    "unseen_fork": unseen(20, lambda: os._exit(0)),
    "unseen_fork_sigkill": unseen(20, kill_myself),
    "unseen_fork_before_any_call": unseen(0, lambda: os._exit(0)),
    "unseen_fork_in_a_stream": unseen_fork_in_a_stream,
    "executed": executed,
    "spawned": spawned,
    "mp_fork": multiprocess("fork", 1_000, 2_000),
    "mp_forkserver": multiprocess("forkserver", 1_000),
    "mp_spawn": multiprocess("spawn", 1_000),
}


def begin() -> None:
    """Returns in a process of its own for each line of standard input, which holds the arguments. Answers with its
    number and, when it has ended, with its status."""
    for line in sys.stdin.buffer:
        child = os.fork()
        if not child:
            sys.argv[1:] = json.loads(line)
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, 0)
            os.dup2(nowhere, 1)
            os.close(nowhere)
            return
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    os._exit(0)


if __name__ == "__main__":
    # As a program of its own has it: the tests may run where it is ignored, as under `nohup … &`.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if len(sys.argv) == 1:
        begin()
    if sys.argv[1] == "later_atexit":
        atexit.register(burst, 100, 100)
    claudetrace.instrument(db=sys.argv[2])
    ENDINGS[sys.argv[1]]()
