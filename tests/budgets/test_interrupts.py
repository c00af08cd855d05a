"""What a signal handler does while a call asks for its reservation, waits for it, or settles it."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from _asking import ASK, HELLO, block, locked, state, states, until

import claudetrace
from claudetrace import _budgets, _worker
from claudetrace._demo import _answers

OURS = (str(Path(_budgets.__file__).parent), _worker.__file__)


class Stop(Exception):  # noqa: N818 - as a host would call it
    """Raised by the host's signal handler."""


class AtLine:
    """Sends this process a signal at the line of ours that is so many lines on."""

    def __init__(self, lines: int) -> None:
        self.left = lines

    def __call__(self, frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                signal.raise_signal(signal.SIGUSR1)
        return self


@pytest.fixture
def on_signal() -> Any:
    """Has a signal answered by what the test says."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda act: signal.signal(signal.SIGUSR1, act)
    sys.settrace(None)
    signal.signal(signal.SIGUSR1, before)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise Stop


def _traced(client: Any, line: int) -> AtLine:
    """A call, interrupted at that line."""
    watch = AtLine(line)
    sys.settrace(watch)
    try:
        client.messages.create(**ASK)
    finally:
        sys.settrace(None)
    return watch


def test_an_interrupt_at_any_line_leaves_nothing_held(server: Any, client: Any, start: Any, on_signal: Any) -> None:
    """It goes on to the host, whoever calls next is served, and at the end nothing is reserved."""
    server.add(_answers.answer(HELLO, times=None))
    start(budgets=[block()])
    client.messages.create(**ASK)
    assert state().spent_calls == 1
    on_signal(_stop)
    line, interrupted, ended = 0, 0, False
    while not ended:
        line += 1
        try:
            ended = _traced(client, line).left > 0
        except Stop:
            interrupted += 1
        if line % 9 == 0:
            other = threading.Thread(target=client.messages.create, kwargs=ASK, daemon=True)
            other.start()
            other.join(20)
            assert not other.is_alive(), f"a call waits since line {line}"

    assert interrupted > 50
    gc.collect()
    until(lambda: [each.reserved_calls for each in states()] == [0])


def test_a_handler_that_calls_claude_is_answered_and_limited(
    server: Any, client: Any, start: Any, on_signal: Any
) -> None:
    """At whatever line of a call it comes: both are answered while there is room, and no more than there is."""
    server.add(_answers.answer(HELLO, times=None))
    room = 30
    start(budgets=[block(max_calls=room)])
    client.messages.create(**ASK)
    assert state().spent_calls == 1
    outcomes: list[bool] = []

    def call(*_: Any) -> None:
        try:
            client.messages.create(**ASK)
            outcomes.append(True)
        except claudetrace.BudgetExceeded:
            outcomes.append(False)

    on_signal(lambda *_: call())
    for line in range(1, 400, 7):
        try:
            if _traced(client, line).left > 0:
                break
        except claudetrace.BudgetExceeded:
            continue

    assert outcomes.count(True) > 10
    assert len(server.requests) == room
    assert (state().spent_calls, state().reserved_calls) == (room, 0)


@pytest.mark.parametrize("raises", [True, False])
def test_a_signal_while_a_call_waits_is_handled_at_once(
    raises: bool, server: Any, client: Any, db: Path, start: Any, on_signal: Any
) -> None:
    """The store is held by another program: the handler runs while the call waits, and its exception ends that."""
    server.add(_answers.answer(HELLO, times=None))
    start(budgets=[block()])
    client.messages.create(**ASK)
    handled: list[float] = []

    def handler(*_: Any) -> None:
        handled.append(time.monotonic())
        if raises:
            raise Stop

    on_signal(handler)
    began = time.monotonic()
    with locked(f"{db}.budgets"):
        threading.Timer(0.2, signal.pthread_kill, (threading.get_ident(), signal.SIGUSR1)).start()
        if raises:
            with pytest.raises(Stop):
                client.messages.create(**ASK)
        else:
            client.messages.create(**ASK)
        waited_s = time.monotonic() - began

    assert len(handled) == 1
    assert waited_s < 5
    assert (waited_s < 0.9) is raises
    until(lambda: [each.reserved_calls for each in states()] == [0])
    assert len(server.requests) == 2 - raises
