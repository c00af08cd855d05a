"""The ledger opened in a real Datasette, with the descriptions and queries that come with it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import anthropic
import pytest
import yaml
from datasette import __version__
from datasette.app import Datasette

import claudetrace
from claudetrace._demo import _answers
from claudetrace._demo._server import PlayServer

METADATA = Path(__file__).parents[2] / "dashboards" / "datasette.yaml"
ASK = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    with PlayServer() as server, claudetrace.instrument(db=path, force=True):
        server.add(_answers.answer())
        with anthropic.Anthropic(api_key="k", base_url=server.url) as client, claudetrace.tag(customer="acme"):
            client.messages.create(**ASK)
    return path


async def test_the_queries_answer_in_datasette(ledger: Path) -> None:
    """Each query of `datasette.yaml` runs on a ledger, and the spend it shows is that of the rows."""
    metadata = yaml.safe_load(METADATA.read_text())
    # Datasette 1.0 has queries in its configuration, older ones in their metadata.
    told = "metadata" if __version__.startswith("0.") else "config"
    datasette = Datasette([str(ledger)], **{told: metadata})
    await datasette.invoke_startup()
    asked = {"from_day": "2020-01-01", "tag": "customer", "session": "none", "trace_id": "none"}

    shown = {}
    for name in metadata["databases"]["ledger"]["queries"]:
        response = await datasette.client.get(f"/ledger/{name}.json", params={**asked, "_shape": "array"})
        assert response.status_code == 200, response.text
        shown[name] = response.json()

    with sqlite3.connect(ledger) as connection:
        ((cost_usd,),) = connection.execute("SELECT SUM(cost_usd) FROM calls").fetchall()
    connection.close()
    assert [row["spend_usd"] for row in shown["spend_by_day"]] == [pytest.approx(cost_usd)]
    assert [(row["value"], row["calls"]) for row in shown["spend_by_tag"]] == [("acme", 1)]
    assert shown["unpriced_calls"] == []


def test_every_described_column_exists(ledger: Path) -> None:
    """A description names a table and a column of the ledger as it is."""
    tables = yaml.safe_load(METADATA.read_text())["databases"]["ledger"]["tables"]

    with sqlite3.connect(ledger) as connection:
        for table, told in tables.items():
            columns = {row[1] for row in connection.execute("SELECT * FROM pragma_table_xinfo(?)", (table,))}
            assert columns, table
            assert set(told.get("columns", {})) <= columns
    connection.close()
