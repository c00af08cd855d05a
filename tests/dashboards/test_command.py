"""`claudetrace dashboard`: what it serves, to whom, and what it refuses."""

from __future__ import annotations

import json
import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from claudetrace._errors import ClaudetraceError
from claudetrace.cli import _dashboard, main

from ._made import plain_row, write

SIGNED_IN = {"plugins": {"datasette-auth-passwords": {"a_password_hash": "x"}}, "allow": {"id": "*"}}


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return write(tmp_path / "ledger.db", [plain_row(time.time_ns() - 10**12)])


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would be served: Datasette and where it listens, without serving it."""
    seen: list[Any] = []

    def run(datasette: Any, listener: socket.socket, host: str, browser: bool) -> None:
        seen.append((datasette, listener.getsockname()[:2], browser))
        listener.close()

    monkeypatch.setattr(_dashboard, "run_pages", run)
    return seen


def command(*words: object) -> Result:
    return CliRunner().invoke(main, ["dashboard", *map(str, words)])


def test_it_serves_on_this_machine_alone(ledger: Path, served: list[Any]) -> None:
    """Without a host it listens on 127.0.0.1, and reads the ledger as one that changes."""
    told = command("--db", ledger, "--port", 0, "--no-open")
    ((datasette, (host, _), browser),) = served

    assert told.exit_code == 0, told.output
    assert (host, browser) == ("127.0.0.1", False)
    assert [db.is_mutable for name, db in datasette.databases.items() if name == "ledger"] == [True]


def test_a_port_that_is_taken(ledger: Path, served: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its own port is taken it takes another; one that was asked for is refused with status 2."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(_dashboard, "PORT", port)
        assert command("--db", ledger).exit_code == 0
        refused = command("--db", ledger, "--port", port)

    assert served[0][1][1] != port
    assert (refused.exit_code, "give --port another" in refused.output) == (2, True)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org"])
def test_beyond_this_machine_it_asks_who(ledger: Path, served: list[Any], host: str) -> None:
    """Another host is refused with status 2 and the way out."""
    told = command("--db", ledger, "--host", host, "--port", 0)

    assert (told.exit_code, served) == (2, [])
    assert "--insecure" in told.output
    assert "datasette-auth-passwords" in told.output


def test_insecure_is_said(ledger: Path, served: list[Any]) -> None:
    """With --insecure it listens where it is told."""
    assert command("--db", ledger, "--host", "0.0.0.0", "--port", 0, "--insecure").exit_code == 0
    assert served[0][1][0] == "0.0.0.0"


@pytest.mark.parametrize(
    ("settings", "lets_in_only_who_is_known"),
    [
        (SIGNED_IN, True),
        ({**SIGNED_IN, "allow": True}, False),
        ({**SIGNED_IN, "allow": {"unauthenticated": True}}, False),
        ({"plugins": SIGNED_IN["plugins"]}, False),
        ({"allow": SIGNED_IN["allow"]}, False),
        ({}, False),
    ],
)
def test_what_is_authentication(
    settings: dict[str, Any], lets_in_only_who_is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Authentication is a plugin that asks who, together with an `allow` that lets in nobody unknown."""
    monkeypatch.setattr(_dashboard, "find_spec", lambda name: object())

    assert _dashboard.asks_who(settings) is lets_in_only_who_is_known


def test_a_plugin_that_is_not_installed_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin in the settings that is not installed is no authentication."""
    monkeypatch.setattr(_dashboard, "find_spec", lambda name: None)

    with pytest.raises(ClaudetraceError, match="shows what you spend to everybody"):
        _dashboard.refuse_open_host("0.0.0.0", SIGNED_IN, insecure=False)


@pytest.mark.parametrize(("host", "loopback"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("::", False)])
def test_what_is_loopback(host: str, loopback: bool) -> None:
    """Loopback is told from all other addresses."""
    assert _dashboard.is_loopback(host) is loopback


async def test_the_settings_hold(ledger: Path, tmp_path: Path, served: list[Any]) -> None:
    """Who may see what, as --config says, holds for the pages; our descriptions are there beside."""
    config = tmp_path / "team.yaml"
    config.write_text(yaml.safe_dump({"allow": {"id": "*"}, "plugins": {"claudetrace": {"budget_usd_a_month": 9}}}))
    assert command("--db", ledger, "--config", config, "--port", 0).exit_code == 0
    datasette = served[0][0]
    await datasette.invoke_startup()
    cookies = {"ds_actor": datasette.sign({"a": {"id": "boss"}}, "actor")}
    stranger = await datasette.client.get("/-/claudetrace")
    known = await datasette.client.get("/-/claudetrace/panel/budget", cookies=cookies)
    table = await datasette.client.get("/ledger/calls", cookies=cookies)

    assert "$" not in stranger.text
    assert 'of <data class="usd" value="9.00"' in known.text
    assert "picodollars" in table.text or "10⁻¹² US dollars" in table.text


@pytest.mark.parametrize("text", ["- a list", "{not: [json", "just words"])
def test_settings_that_are_none(ledger: Path, tmp_path: Path, text: str) -> None:
    """A configuration that is none is refused with status 2, by its name."""
    config = tmp_path / "team.yaml"
    config.write_text(text)
    told = command("--db", ledger, "--config", config)

    assert (told.exit_code, "team.yaml" in told.output) == (2, True)


def test_without_a_ledger(tmp_path: Path, served: list[Any]) -> None:
    """Without a ledger it serves a page all the same, and makes none."""
    path = tmp_path / "ledger.db"
    told = command("--db", path, "--port", 0)

    assert told.exit_code == 0
    assert "no ledger" in told.output
    assert not path.exists()


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda path: path.write_bytes(b"no database " * 999), "not a SQLite file"),
        (lambda path: _other(path), "SQLite file of something else"),
        (lambda path: _newer(path), "upgrade claudetrace"),
        (lambda path: path.mkdir(), ""),
    ],
    ids=["no-database", "another", "newer", "folder"],
)
def test_what_is_no_ledger_is_refused(tmp_path: Path, served: list[Any], made: Any, words: str) -> None:
    """A file that is no ledger, or a newer one, is refused with status 2 and the reason."""
    path = tmp_path / "ledger.db"
    made(path)
    told = command("--db", path)

    assert (told.exit_code, served) == (2, [])
    assert words in told.output


def _other(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE mine (x)")


def _newer(path: Path) -> None:
    write(path, [plain_row(10**18)])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


async def test_cells_can_be_read(ledger: Path, served: list[Any]) -> None:
    """In Datasette's own table of calls money, durations and JSON are shown for a person, with a link to our page."""
    command("--db", ledger, "--port", 0)
    datasette = served[0][0]
    await datasette.invoke_startup()
    html = (await datasette.client.get("/ledger/calls")).text
    rows = json.loads((await datasette.client.get("/ledger/calls.json?_shape=array")).text)

    assert '<data class="usd"' in html
    assert "812 ms" in html
    assert f"/-/claudetrace/call/{rows[0]['call_id']}" in html
    assert rows[0]["duration_ms"] == 812.5
