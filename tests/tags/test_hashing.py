"""`hash_tags`: who the call is for stays countable and cannot be read."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anthropic
import pytest

import claudetrace
from claudetrace._demo._server import PlayServer

from ._api import say
from .conftest import Tags

Start = Callable[..., claudetrace.Instrumentation]

SECRET = "alice.secretperson@example.com"


def test_a_hashed_tag_is_the_same_hash_each_time_and_others_stay_plain(
    client: anthropic.Anthropic, start: Start, tags: Tags
) -> None:
    """One user is one hash, another is another, from whichever source; other tags stay as they are."""
    start(hash_tags=("user", "account"), hash_key="a key of the team")
    with claudetrace.tag(user=SECRET, customer="acme"):
        say(client)
    say(client, metadata={"user_id": SECRET})
    say(claudetrace.tagged(client, user="bob", account=SECRET))

    first, second, third = tags()
    assert first == {"user": first["user"], "customer": "acme"}
    assert second == {"user": first["user"]}
    assert third == {"user": third["user"], "account": first["user"]}
    assert {len(first["user"]), len(third["user"])} == {32}
    assert third["user"] != first["user"]


def test_another_key_gives_another_hash(client: anthropic.Anthropic, start: Start, tags: Tags) -> None:
    """Without the key nobody can tell who a hash is, by trying names either."""
    for key in ("one", "two"):
        start(hash_tags=("user",), hash_key=key)
        with claudetrace.tag(user=SECRET):
            say(client)

    assert len({row["user"] for row in tags()}) == 2


def test_the_key_lies_beside_the_ledger_for_its_owner_alone(start: Start, db: Path) -> None:
    """Where no key is given one is made, readable by its owner alone, and kept."""
    start(hash_tags=("user",))
    path = Path(f"{db}.key")
    made = path.read_text()
    start(hash_tags=("user",), tags={"now": "another"})

    assert (len(made), path.read_text()) == (64, made)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in db.parent.glob("*.key*")] == [path.name]


CALLS = """
import os, sys, anthropic, claudetrace
for number in range(5):
    if number == 4:
        sys.exit(any(os.wait()[1] for _ in range(4)))
    if not os.fork():
        break
claudetrace.instrument(db=sys.argv[1], hash_tags=("user",))
client = anthropic.Anthropic(api_key="k", base_url=sys.argv[2])
with claudetrace.tag(user=sys.argv[3]):
    client.messages.create(model="claude-sonnet-5", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
"""


def test_processes_that_start_at_once_share_one_key(server: PlayServer, db: Path, tags: Tags) -> None:
    """Four processes on a new ledger hash a user alike."""
    subprocess.run([sys.executable, "-c", CALLS, str(db), server.url, SECRET], check=True, timeout=60)

    rows = tags()
    assert (len(rows), len({row["user"] for row in rows})) == (4, 1)


def test_the_plain_value_is_nowhere_on_disk(
    client: anthropic.Anthropic, start: Start, db: Path, ledger: Callable[[], list[claudetrace.Call]]
) -> None:
    """While it runs and after it has ended, neither ledger, WAL, journal nor key holds a hashed value."""

    def found() -> list[str]:
        files = [path for path in db.parent.rglob("*") if path.is_file()]
        assert {db.name, f"{db.name}.key"} <= {path.name for path in files}
        return [path.name for path in files if SECRET.encode() in path.read_bytes()]

    meter = start(hash_tags=("user", "email"), tags={"email": SECRET})
    with claudetrace.tag(user=SECRET):
        say(client, metadata={"user_id": SECRET})
    journal = [path for path in db.parent.rglob("*.jsonl") if SECRET.encode() in path.read_bytes()]
    rows = ledger()
    running = found()
    meter.uninstrument()

    assert (len(rows), journal, running, found()) == (1, [], [], [])


def test_the_span_has_the_hash_too(
    client: anthropic.Anthropic, start: Start, tags: Tags, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is hashed in the ledger is exported as the same hash."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    start(hash_tags=("user",))
    with claudetrace.tag(user=SECRET):
        say(client)

    (row,) = tags()
    exported = [span.to_json() for span in exporter.get_finished_spans()]
    assert len(exported) == 1
    assert (SECRET in exported[0], row["user"] in exported[0]) == (False, True)


def test_a_key_that_cannot_be_used_is_refused_with_the_way_out(start: Start, db: Path) -> None:
    """A key file that was emptied would make guessable hashes, and is refused before anything starts."""
    Path(f"{db}.key").touch()
    with pytest.raises(claudetrace.ClaudetraceError, match=r"ledger\.db\.key, which is cut short: .*hash_key="):
        start(hash_tags=("user",))


def test_the_key_is_never_shown(start: Start) -> None:
    """Neither an error about other settings nor their representation shows a key."""
    running = start(hash_tags=("user",), hash_key="swordfish-1")
    with pytest.raises(claudetrace.ClaudetraceError, match="another hash_key") as caught:
        claudetrace.instrument(db=running.settings.db, hash_tags=("user",), hash_key="swordfish-2")

    assert "swordfish" not in f"{caught.value} {running.settings!r} {running!r}"
