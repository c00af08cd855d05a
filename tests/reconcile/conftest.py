"""A ledger that has seen some of what a loopback Anthropic served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from claudetrace._guard import Guard
from claudetrace._ids import uuid7
from claudetrace._ledger._store import Store
from claudetrace._pricing._row import with_price
from claudetrace.cli import main

from ._organization import ADMIN_KEY, Api, Organization, Served


@pytest.fixture
def organization() -> Organization:
    return Organization()


@pytest.fixture
def api(organization):
    served = Api(organization)
    yield served
    served.close()


@pytest.fixture
def db(tmp_path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def reconcile(db, api):
    """The command line on `db`, asking the loopback Anthropic."""

    def run(*words: object) -> Result:
        said = ["reconcile", *map(str, words), "--db", str(db)]
        if "--from" not in said:
            said += ["--base-url", api.url]
        return CliRunner(env={"ANTHROPIC_ADMIN_KEY": ADMIN_KEY}).invoke(main, said)

    return run


@pytest.fixture
def told(reconcile):
    """The same, as a program reads it."""

    def run(*words: object) -> dict[str, Any]:
        ran = reconcile(*words, "--json")
        assert ran.exit_code in (0, 1), ran.output
        answer: dict[str, Any] = json.loads(ran.stdout)
        return {**answer, "exit_code": ran.exit_code}

    return run


@pytest.fixture
def record(db):
    """Puts calls into the ledger, as the loader does."""

    def write(*calls: Served, **changes: Any) -> None:
        store = Store(db, Guard())
        store.write([with_price({**_row(call), **changes}) for call in calls])
        store.close()

    return write


def _row(call: Served) -> dict[str, Any]:
    plain, read, short, long, output = call.tokens
    usage: dict[str, Any] = {
        "input_tokens": plain,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": short + long,
        "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
        "output_tokens": output,
        "service_tier": call.tier,
        "speed": call.speed,
    }
    if call.searches:
        usage["server_tool_use"] = {"web_search_requests": call.searches}
    id_ = uuid7(int(call.at.timestamp() * 1e9))
    return {
        "id": id_,
        "call_id": id_,
        "started_at": call.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "duration_ms": call.seconds * 1000,
        "source": "anthropic",
        "operation": "messages.create",
        "platform": "anthropic",
        "server_address": "api.anthropic.com",
        "streamed": 0,
        "model": call.model,
        "model_requested": call.model,
        "outcome": "ok",
        "usage_is_final": 1,
        "usage": json.dumps(usage),
        "workspace_id": call.workspace,
    }
