"""A process that raises an alert in a store and delivers it, for tests of many processes."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from claudetrace._alerts import _sender
from claudetrace._alerts._alert import Alert
from claudetrace._alerts._channels import channels
from claudetrace._alerts._sender import Sender
from claudetrace._budgets._budget import Budget
from claudetrace._budgets._budgets import Budgets
from claudetrace._call import Row
from claudetrace._guard import Guard
from claudetrace._ids import utc_text, uuid7

PACE = {"FIRST_S": 0.02, "LONGEST_S": 0.1, "LONGEST_PAUSE_S": 0.1, "POLL_S": 0.05}


def main(store: str, url: str, marks: int, seconds: float) -> None:
    guard = Guard()
    vars(_sender).update(PACE)
    budgets = Budgets([Budget("all", usd=10)], Path(store), guard=guard)
    sender = Sender(channels("alert_to", url), guard=guard, writer=budgets.writer)
    sender.start()
    print("ready", flush=True)
    sys.stdin.readline()
    # Ten cents each: of eight processes eight dollars together, whichever of them comes to a threshold.
    counted = budgets.offers.offer([a_row(uuid7(time.time_ns())) for _ in range(10)], 1)
    assert counted is not None
    assert counted.wait(10)
    for number in range(marks):
        alert = Alert(kind="spike", budget="all", at=datetime.now(UTC), message=f"Number {number}.")
        sender.raise_alert(alert, f"spike {number}")
    time.sleep(seconds)
    sender.close()
    budgets.close()


def a_row(id_: str) -> Row:
    moment = utc_text(time.time_ns())
    return {
        "id": id_,
        "call_id": id_,
        "operation": "messages.create",
        "started_at": moment,
        "outcome": "ok",
        "model": "claude-sonnet-5",
        "usage_is_final": 1,
        "cost_picousd": 10**11,
        "cost_flags": "[]",
    }


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
