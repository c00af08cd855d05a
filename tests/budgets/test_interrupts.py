"""What a signal handler raises while a call is at the budgets' desk."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import Any

import pytest

import claudetrace
from claudetrace._budgets import _desk
from claudetrace._demo import _answers

ASK: dict[str, Any] = {"model": "claude-haiku-5-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


class Stop(Exception):  # noqa: N818 - as a host would call it
    """Raised by the host's signal handler."""


class AtLine:
    """Sends this process a signal at the line of the desk that is so many lines on."""

    def __init__(self, lines: int) -> None:
        self.left = lines

    def __call__(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename != _desk.__file__:
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                signal.raise_signal(signal.SIGUSR1)
        return self


@pytest.fixture
def _stopping() -> Any:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Stop

    before = signal.signal(signal.SIGUSR1, stop)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("_stopping")
def test_an_interrupt_at_any_line_of_the_desk_leaves_it_free(server: Any, client: Any, start: Any) -> None:
    """It goes on to the host, and whoever calls next is served: nobody is left waiting for the desk."""
    server.add(_answers.answer(times=None))
    start(budgets=[claudetrace.Budget("all", usd=100, on_exceeded="block")])
    client.messages.create(**ASK)
    line, interrupted = 0, 0
    while True:
        line += 1
        watch = AtLine(line)
        sys.settrace(watch)
        try:
            client.messages.create(**ASK)
        except Stop:
            interrupted += 1
        finally:
            sys.settrace(None)
        if watch.left > 0:
            break
        other = threading.Thread(target=client.messages.create, kwargs=ASK, daemon=True)
        other.start()
        other.join(20)
        assert not other.is_alive(), f"the desk is held since line {line}"

    assert interrupted == line - 1 > 20
