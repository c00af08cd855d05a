"""What a signal handler of the host raises while our code runs goes on to the host, and the row is kept."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import anthropic
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

import claudetrace
from claudetrace._demo._server import PlayServer

from .kinds._kit import ASK
from .kinds._plays import answering_all

OURS = tuple(str(Path(claudetrace.__file__).parent / name) for name in ("_seam", "_recorder.py", "_pricing"))


class SoftTimeLimitExceeded(Exception):  # noqa: N818 - Celery's name
    """As Celery's: an `Exception` that a signal handler raises."""


def plain(_number: int, _frame: FrameType | None) -> None:
    raise SoftTimeLimitExceeded


def once(number: int, frame: FrameType | None) -> None:
    """Has gone, and its arguments too, when it raises."""
    signal.signal(number, signal.SIG_DFL)
    plain(number, frame)


def forgetful(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise SoftTimeLimitExceeded


class Watchdog:
    def __call__(self, *_: Any) -> None:
        raise SoftTimeLimitExceeded

    def bark(self, number: int, frame: FrameType | None) -> None:
        plain(number, frame)


HANDLERS: dict[str, Callable[..., Any]] = {
    "a function": plain,
    "one that goes": once,
    "one without its arguments": forgetful,
    "a method": Watchdog().bark,
    "an object": Watchdog(),
    "a partial": functools.partial(lambda _limit, *given: plain(*given), 30),
}


class Interrupted(SpanProcessor):
    """The host's code, in which a signal arrives."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        signal.raise_signal(signal.SIGUSR1)


class Failing(SpanProcessor):
    """The host's code, which fails by itself, and knows who called it."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        caller = sys._getframe(1)
        raise SoftTimeLimitExceeded(caller.f_code.co_name)


@pytest.fixture
def handled() -> Iterator[Callable[[Any], None]]:
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda handler: signal.signal(signal.SIGUSR1, handler)
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def server() -> Iterator[PlayServer]:
    with answering_all() as running:
        yield running


@pytest.fixture
def client(server: PlayServer) -> Iterator[anthropic.Anthropic]:
    """One whose calls have spans of ours."""
    options: Any = {"open_telemetry": False} if hasattr(anthropic._base_client, "start_api_call_span") else {}
    with anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=0, **options) as opened:
        yield opened


def processed_by(processor: SpanProcessor, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = TracerProvider()
    provider.add_span_processor(processor)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)


@pytest.mark.parametrize("handler", HANDLERS)
def test_what_a_handler_raises_goes_on(
    handler: str, client: Any, handled: Any, meter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a handler is, its exception leaves the call by itself, and the call that it stopped has its row."""
    processed_by(Interrupted(), monkeypatch)
    handled(HANDLERS[handler])

    with pytest.raises(SoftTimeLimitExceeded) as raised:
        client.messages.create(**ASK)

    assert (raised.value.__cause__, [call.error_type for call in meter.calls()]) == (None, ["SoftTimeLimitExceeded"])
    meter.check()


def test_what_the_host_s_code_raises_itself_stays(
    client: Any, handled: Any, meter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A callback that fails reaches no caller, also where the host is handling what a signal handler raised before."""
    processed_by(Failing(), monkeypatch)
    handled(plain)
    try:
        signal.raise_signal(signal.SIGUSR1)
    except SoftTimeLimitExceeded:
        client.messages.create(**ASK)

    assert [call.outcome for call in meter.calls()] == ["ok"]
    meter.check({"start the span of a call: SoftTimeLimitExceeded": 1})


def is_collecting(frame: FrameType | None) -> bool:
    """Whether Python itself would print an exception here, and go on."""
    while frame is not None:
        if frame.f_code.co_name in ("__del__", "_note"):
            return True
        frame = frame.f_back
    return False


class At:
    """Has a signal arrive at one line of ours."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, frame: FrameType, _event: str, _given: Any) -> Any:
        return self._line if frame.f_code.co_filename.startswith(OURS) and not is_collecting(frame) else None

    def _line(self, _frame: FrameType, event: str, _given: Any) -> Any:
        if event == "line":
            self.left -= 1
            if not self.left:
                sys.settrace(None)
                signal.raise_signal(signal.SIGUSR1)
        return self._line


def interrupted(ask: Callable[[], Any], number: int) -> tuple[bool, bool]:
    """Whether the signal came, and whether the host got what its handler raised, or Python itself discarded it: it
    does so with all that is raised while a destructor runs."""
    at, discarded = At(number), list[Any]()
    hook, sys.unraisablehook = sys.unraisablehook, discarded.append
    sys.settrace(at)
    try:
        ask()
    except SoftTimeLimitExceeded:
        return True, True
    finally:
        sys.settrace(None)
        sys.unraisablehook = hook
    return at.left <= 0, bool(discarded)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_signal_may_come_at_any_line(stream: bool, server: PlayServer, client: Any, handled: Any, meter: Any) -> None:
    """Wherever in our code the signal arrives, the host gets its exception, and each answer has one row."""
    handled(plain)

    def ask() -> None:
        answer = client.messages.create(**ASK, stream=stream)
        if stream:
            list(answer)

    told = [interrupted(ask, number) for number in range(1, 2000, 17)]
    came = told[: told.index((False, False))]

    assert len(came) > 15
    assert set(came) == {(True, True)}
    calls = meter.calls()
    assert len({call.id for call in calls}) == len(calls) >= len(server.requests)
