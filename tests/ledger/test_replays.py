"""A gateway that answers from its own cache: an answer is paid for once, whoever gets it again."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic
import pytest
from click.testing import CliRunner

import claudetrace
from claudetrace._demo import _answers, _wire
from claudetrace._demo._server import PlayServer
from claudetrace._ids import SeenIds
from claudetrace._ledger._reprice import reprice
from claudetrace._ledger._rollups import rollup_differences
from claudetrace._ledger._schema import open_ledger

Start = Callable[..., claudetrace.Instrumentation]
Rows = Callable[[], list[claudetrace.Call]]
PAID = (Decimal("0.018"), ())
"""A thousand tokens in and a thousand out of Sonnet 4.6."""
REPLAYED = (Decimal(0), ("replayed",))
ASK: dict[str, Any] = {
    "model": "claude-sonnet-4-6",
    "max_tokens": 2000,
    "messages": [{"role": "user", "content": "Hello?"}],
}
FOUR_PROCESSES = """
import os, sys, anthropic, claudetrace
for number in range(5):
    if number == 4:
        sys.exit(any(os.wait()[1] for _ in range(4)))
    if not os.fork():
        break
url, db, config = sys.argv[1:]
with claudetrace.instrument(db=db, config=config):
    anthropic.Anthropic(api_key="k", base_url=url).messages.create(
        model="claude-sonnet-4-6", max_tokens=2000, messages=[{"role": "user", "content": "Hello?"}]
    )
"""


@pytest.fixture
def replays(tmp_path: Path) -> Path:
    """Settings by which loopback replays."""
    file = tmp_path / "settings.toml"
    file.write_text('[hosts]\n"127.0.0.1" = "replays"\n')
    return file


@pytest.fixture
def gateway(server: PlayServer) -> PlayServer:
    """Gives one answer to whoever asks, whole or as a stream."""
    whole = _wire.message("Hello.", _wire.usage(1000, 1000), model="claude-sonnet-4-6", message_id="msg_cached")
    server.add(
        _answers.stream(whole, when=lambda body: bool(body.get("stream")), times=None),
        _answers.answer(whole, times=None),
    )
    return server


def told(rows: list[claudetrace.Call]) -> list[tuple[Decimal | None, tuple[str, ...]]]:
    return [(row.cost_usd, row.cost_flags) for row in rows]


def test_an_answer_that_is_replayed_is_paid_for_once(
    start: Start, gateway: PlayServer, client: anthropic.Anthropic, ledger: Rows, db: Path, replays: Path
) -> None:
    """Of six equal answers the first costs its price; the tag's total and a run's budget agree with the ledger."""
    start(config=replays)
    with claudetrace.tag(feature="f") as scope, claudetrace.Budget("run", usd=1, per="run") as run:
        for stream in (False, True, False, True):
            answer = client.messages.create(**ASK, stream=stream)
            if stream:
                list(answer)
        claudetrace.flush()
        client.messages.create(**ASK)
        client.messages.create(**ASK)
    rows = ledger()

    assert told(rows) == [PAID, *[REPLAYED] * 5]
    assert (scope.calls, scope.cost_usd, run.spent_usd) == (6, PAID[0], PAID[0])
    with closing(open_ledger(db)) as connection:
        assert rollup_differences(connection) == []
        assert connection.execute("SELECT COUNT(*) FROM unproven_calls").fetchone() == (0,)


def test_processes_pay_once_among_them(gateway: PlayServer, db: Path, replays: Path) -> None:
    """Of answers to four processes on one ledger one is paid for."""
    subprocess.run([sys.executable, "-c", FOUR_PROCESSES, gateway.url, str(db), str(replays)], check=True, timeout=60)
    with claudetrace.Ledger(db) as opened:
        rows = opened.calls()

    assert sorted(told(rows)) == [*[REPLAYED] * 3, PAID]


def test_the_ledger_decides(
    start: Start, gateway: PlayServer, client: anthropic.Anthropic, ledger: Rows, db: Path, replays: Path
) -> None:
    """What this process remembers is not believed where the ledger has no such answer."""
    start(config=replays)
    client.messages.create(**ASK)
    assert claudetrace.flush()
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("DELETE FROM calls")
        connection.commit()
    with claudetrace.tag(feature="f") as scope:
        client.messages.create(**ASK)

    assert (told(ledger()), scope.cost_usd) == ([PAID], Decimal(0))


def test_a_host_that_is_not_said_to_replay_is_paid_each_time(
    start: Start, gateway: PlayServer, client: anthropic.Anthropic, ledger: Rows, db: Path
) -> None:
    """Without the setting each answer costs its price, and `doctor` tells the host and what to write."""
    start()
    for _ in range(3):
        client.messages.create(**ASK)
    rows = ledger()
    claudetrace.uninstrument()
    from claudetrace.cli import main

    said = CliRunner().invoke(main, ["doctor", "--db", str(db)]).output

    assert told(rows) == [PAID] * 3
    assert "answers that came twice" in said
    assert 'write "127.0.0.1" = "replays" under [hosts]' in said
    assert "other hosts" in said
    assert "127.0.0.1 (3 calls, $0.0540)" in said


def test_what_was_paid_elsewhere_is_not_paid_again(
    start: Start, gateway: PlayServer, client: anthropic.Anthropic, ledger: Rows, replays: Path
) -> None:
    """An answer that the ledger has from any host is a replay at one that replays."""
    start()
    client.messages.create(**ASK)
    start(config=replays)
    client.messages.create(**ASK)

    assert told(ledger()) == [PAID, REPLAYED]


def test_repricing_keeps_what_was_replayed(
    start: Start, gateway: PlayServer, client: anthropic.Anthropic, ledger: Rows, db: Path, replays: Path
) -> None:
    """The row itself says that it was a replay: pricing all rows again changes none."""
    start(config=replays)
    client.messages.create(**ASK)
    client.messages.create(**ASK)
    assert told(ledger()) == [PAID, REPLAYED]
    claudetrace.uninstrument()

    assert sum(each.changed_rows for each in reprice(db, everything=True, apply=True)) == 0


def test_the_memory_of_ids_is_bounded() -> None:
    """It knows the newest thousands of ids, and forgets the oldest."""
    seen = SeenIds()
    for number in range(50_000):
        seen.is_replayed(f"msg_{number}", f"call_{number}")

    assert seen.is_replayed("msg_49999", "another") is True
    assert seen.is_replayed("msg_45000", "another") is True
    assert seen.is_replayed("msg_0", "another") is False
    assert len(seen._new) + len(seen._old) <= 2 * 8192
