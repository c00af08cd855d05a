"""Alerts of calls of the SDK on their way to a webhook on loopback: once, also where it is away or the program ends."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from claudetrace._alerts import _sender
from claudetrace._demo import _answers
from tests.alerts._raiser import PACE
from tests.alerts._receiver import Receiver, until
from tests.budgets._asking import ASK, HELLO, block
from tests.processes._running import outside_pytest

if TYPE_CHECKING:
    from pathlib import Path

    import anthropic

    from claudetrace._demo._server import PlayServer

ONCE = {0.5: 1, 0.8: 1, 1.0: 1}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alerts are tried again after moments."""
    for name, seconds in PACE.items():
        monkeypatch.setattr(_sender, name, seconds)


@pytest.fixture
def away() -> int:
    """A port where nobody listens, so far."""
    with Receiver() as receiver:
        return receiver.port


def thresholds(receiver: Receiver) -> dict[float, int]:
    return Counter(orjson.loads(got.body)["threshold"] for got in receiver.got)


def test_thresholds_of_calls_reach_a_webhook_once(client: anthropic.Anthropic, server: PlayServer, start: Any) -> None:
    """However many calls come after it, and however often the meter is begun anew."""
    server.add(_answers.answer(HELLO, times=None))
    with Receiver() as receiver:
        for _ in range(3):
            start(budgets=[block(on_exceeded="alert", max_calls=5)], alert_to=[f"http://{receiver.at}/hook"])
            for _ in range(3):
                client.messages.create(**ASK)
        assert until(lambda: len(receiver.got) == 3)
        start()

        assert thresholds(receiver) == ONCE


def test_a_webhook_that_was_away_gets_each_alert_once(
    client: anthropic.Anthropic, server: PlayServer, start: Any, away: int
) -> None:
    """First nobody listens, then it answers 503, then it is back."""
    server.add(_answers.answer(HELLO, times=None))
    meter = start(budgets=[block(max_calls=5)], alert_to=[f"http://127.0.0.1:{away}/hook"])
    for _ in range(5):
        client.messages.create(**ASK)
    assert until(lambda: any("deliver alerts" in doing for doing in meter.health.failures))
    with Receiver(away, status=503) as receiver:
        assert until(lambda: receiver.refused)
        assert receiver.got == []
        receiver.status = 200
        assert until(lambda: len(receiver.got) == 3)
        start()

        assert thresholds(receiver) == ONCE


ENDS = """
import sys
import anthropic, claudetrace
budget = claudetrace.Budget("cap", max_calls=5, per="total", on_exceeded="block", forecast=False)
claudetrace.instrument(db=sys.argv[1], budgets=[budget], alert_to=[sys.argv[3]])
client = anthropic.Anthropic(api_key="k", base_url=sys.argv[2], max_retries=0)
for _ in range(5):
    client.messages.create(model="claude-sonnet-5", max_tokens=9, messages=[{"role": "user", "content": "Say hello."}])
"""


def test_what_a_program_could_not_deliver_its_next_start_does(
    server: PlayServer, start: Any, db: Path, away: int
) -> None:
    """The program makes its calls while the webhook is away, and ends; begun again it makes none."""
    server.add(_answers.answer(HELLO, times=None))
    hook = f"http://127.0.0.1:{away}/hook"
    command = [sys.executable, "-c", ENDS, str(db), server.url, hook]
    subprocess.run(command, env=outside_pytest(), check=True, timeout=60)
    with Receiver(away) as receiver:
        start(budgets=[block(max_calls=5)], alert_to=[hook])
        assert until(lambda: len(receiver.got) == 3)
        start()

        assert thresholds(receiver) == ONCE
