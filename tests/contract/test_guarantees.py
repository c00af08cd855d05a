"""The guarantees, each by its number and name."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import claudetrace
from claudetrace._demo import _answers, _wire
from claudetrace._demo._server import PlayServer

Rows = Callable[[], list[claudetrace.Call]]

ASK: dict[str, Any] = {
    "model": "claude-sonnet-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "The prompt nobody else may read."}],
}
HELLO = _wire.message("The completion nobody else may read.", _wire.usage(1_000, 50), model="claude-sonnet-5")


@pytest.mark.parametrize("broken", ["attribute", "demand", "usage_known", "record", "left", "ended", "started"])
def test_1_never_raises_into_the_callers_call(
    broken: str,
    client: anthropic.Anthropic,
    server: PlayServer,
    meter: claudetrace.Instrumentation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever of ours fails, the caller gets the message, and the failure is counted and not silent."""
    from claudetrace._seam import _patch

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(_patch._recorder, broken, fail)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider())
    server.add(_answers.answer(HELLO), _answers.stream(HELLO))

    with claudetrace.Budget(usd=1, per="run"):
        whole = client.messages.create(**ASK)
        streamed = [event.type for event in client.messages.create(**ASK, stream=True)]

    assert whole.id == "msg_demo_1"
    assert (streamed[0], streamed[-1]) == ("message_start", "message_stop")
    assert sum(meter.health.failures.values()) >= 2


def test_2_never_changes_what_the_sdk_returns(client: anthropic.Anthropic, server: PlayServer, db: Path) -> None:
    """Types, content and bytes are the same with the meter and without."""
    calls: list[Callable[[], Any]] = [
        lambda: client.messages.create(**ASK),
        lambda: client.messages.with_raw_response.create(**ASK),
        lambda: client.messages.with_raw_response.create(**ASK).http_response.content,
        lambda: list(client.messages.create(**ASK, stream=True)),
    ]

    def all_of_them() -> list[Any]:
        server.add(*[_answers.answer(HELLO)] * 3, _answers.stream(HELLO))
        return [call() for call in calls]

    bare = all_of_them()
    with claudetrace.instrument(db=db, force=True):
        metered = all_of_them()

    assert [type(each) for each in bare] == [type(each) for each in metered]
    assert (bare[0], bare[2], bare[3]) == (metered[0], metered[2], metered[3])


def test_3_records_each_billable_response_and_each_failed_call_exactly_once(
    client: anthropic.Anthropic, server: PlayServer, ledger: Rows
) -> None:
    """A mix of calls leaves a row each, none twice, also when a batch is read twice."""
    server.add(
        _answers.answer(HELLO),
        _answers.stream(HELLO),
        _answers.failure(529, "overloaded_error"),
        *_answers.batch("batch_1", {"a": HELLO, "b": HELLO}),
    )

    client.messages.create(**ASK)
    list(client.messages.create(**ASK, stream=True))
    with pytest.raises(anthropic.APIStatusError):
        client.messages.create(**ASK)
    for _ in range(2):
        list(client.messages.batches.results("batch_1"))

    told = sorted((call.operation, call.outcome, call.custom_id or "") for call in ledger())
    assert told == [
        ("messages.batches.result", "ok", "a"),
        ("messages.batches.result", "ok", "b"),
        ("messages.create", "error", ""),
        ("messages.create", "ok", ""),
        ("messages.create", "ok", ""),
    ]


CALLS_THEN_DIES = """
import os, signal, sys
import anthropic, claudetrace
claudetrace.instrument(db=sys.argv[1])
client = anthropic.Anthropic(api_key="k", base_url=sys.argv[2])
for _ in range(20):
    client.messages.create(model="claude-sonnet-5", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
    os.write(1, b".")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_4_a_call_that_has_returned_is_not_lost(server: PlayServer, db: Path) -> None:
    """Twenty calls and a SIGKILL at once leave twenty rows."""
    server.add(_answers.answer(HELLO, times=None))

    died = subprocess.run([sys.executable, "-c", CALLS_THEN_DIES, str(db), server.url], capture_output=True, timeout=60)

    assert (died.returncode, died.stdout) == (-signal.SIGKILL, b"." * 20)
    with claudetrace.Ledger(db) as opened:
        assert len(opened.calls()) == 20


def test_5_stores_no_prompt_no_completion_and_no_key(
    client: anthropic.Anthropic, server: PlayServer, db: Path, ledger: Rows
) -> None:
    """No byte of the prompt, the answer or the key is in any file of ours, also after errors."""
    server.add(_answers.answer(HELLO), _answers.stream(HELLO), _answers.failure(400, "invalid_request_error", "nobody"))
    client.messages.create(**ASK)
    list(client.messages.create(**ASK, stream=True))
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(**ASK)
    written = _bytes_below(db.parent)
    assert len(ledger()) == 3
    written += _bytes_below(db.parent)

    assert b"messages.create" in written
    assert not any(secret in written for secret in (b"nobody", b"prompt nobody", b"completion", b"sk-ant-secret"))


CALLS_WATCHED = """
import sys, json
connected = []
def watch(event, args):
    if event == "socket.connect":
        connected.append(args[1][:2] if isinstance(args[1], tuple) else args[1])
sys.addaudithook(watch)
import anthropic, claudetrace
claudetrace.instrument(db=sys.argv[1])
client = anthropic.Anthropic(api_key="k", base_url=sys.argv[2])
client.messages.create(model="claude-sonnet-5", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
claudetrace.flush()
claudetrace.uninstrument()
print(json.dumps(connected))
"""


def test_6_sends_nothing_anywhere_the_user_did_not_name(server: PlayServer, db: Path) -> None:
    """The one connection of a metered process is the SDK's own."""
    server.add(_answers.answer(HELLO))
    environment = {name: value for name, value in os.environ.items() if "OTEL" not in name}

    ran = subprocess.run(
        [sys.executable, "-c", CALLS_WATCHED, str(db), server.url],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=True,
    )

    assert json.loads(ran.stdout) == [["127.0.0.1", int(server.url.rpartition(":")[2])]]


def test_7_exact_to_the_picodollar_or_says_why_not(
    client: anthropic.Anthropic, server: PlayServer, db: Path, ledger: Rows
) -> None:
    """A known model's cost is the sum of its parts; an unknown one's is NULL with the reason; SQL proves both."""
    unknown = {**HELLO, "model": "claude-unheard-of-9"}
    server.add(_answers.answer(HELLO), _answers.answer(unknown))
    with claudetrace.tag(feature="exact") as scope:
        client.messages.create(**ASK)
        client.messages.create(**ASK)

    unpriced, priced = ledger()

    assert priced.cost_usd == Decimal(sum(part.picousd for part in priced.cost_parts)).scaleb(-12)
    assert priced.cost_usd == claudetrace.price(HELLO).usd
    assert (unpriced.cost_usd, unpriced.cost_flags) == (None, ("unknown_model",))
    assert (scope.calls, scope.cost_usd, scope.unpriced_calls) == (2, priced.cost_usd, 1)
    with sqlite3.connect(db) as connection:
        assert connection.execute("SELECT COUNT(*) FROM unproven_calls").fetchone() == (0,)
    connection.close()


SPENDS_ALL_IT_MAY = """
import sys, threading
import anthropic, claudetrace
budget = claudetrace.Budget("cap", usd="0.05", per="total", on_exceeded="block")
claudetrace.instrument(db=sys.argv[1], budgets=[budget], alert_to=[str])
ask = {"model": "claude-sonnet-5", "max_tokens": 100, "messages": [{"role": "user", "content": "How is it there?"}]}
print("ready", flush=True)
sys.stdin.readline()

def spend():
    with anthropic.Anthropic(api_key="k", base_url=sys.argv[2], max_retries=0) as client:
        while True:
            try:
                client.messages.create(**ask)
            except claudetrace.BudgetExceeded:
                return

threads = [threading.Thread(target=spend) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
claudetrace.flush(30)
claudetrace.uninstrument()
"""


def test_8_a_blocking_budget_is_never_overshot(server: PlayServer, db: Path) -> None:
    """Four processes with eight threads each spend on one store until all are stopped: no more than the limit, by the
    ledger as by the store, and nearly all of it."""
    dear = _wire.message("It is fine, thanks.", _wire.usage(12, 100), model="claude-sonnet-5")
    server.add(_answers.answer(dear, times=None, delay_s=0.01))
    command = [sys.executable, "-c", SPENDS_ALL_IT_MAY, str(db), server.url]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(4)]
    try:
        for each in running:
            assert each.stdout is not None
            assert each.stdout.readline() == b"ready\n"
        for each in running:
            assert each.stdin is not None
            each.stdin.write(b"go\n")
            each.stdin.flush()
        ended = [each.wait(timeout=60) for each in running]
    finally:
        for each in running:
            each.kill()
            each.communicate()
    with claudetrace.Ledger(db) as opened:
        (spend,) = opened.spend(by=None, since="1h")
    with sqlite3.connect(db.with_name(f"{db.name}.budgets")) as store:
        (usd, rest, reserved), *_ = store.execute("SELECT spent_usd, spent_picousd, reserved_picousd FROM counters")
    store.close()

    assert ended == [0] * 4
    assert Decimal("0.045") < spend.cost_usd <= Decimal("0.05")
    assert (usd * 10**12 + rest, reserved) == (int(spend.cost_usd.scaleb(12)), 0)


def _bytes_below(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
