"""A process that raises an alert in a store and delivers it, for tests of many processes."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from claudetrace._budgets._budget import Alert, Budget
from claudetrace._budgets._channels import channels
from claudetrace._budgets._courier import Pace
from claudetrace._budgets._delivery import Delivery
from claudetrace._budgets._keeper import Keeper
from claudetrace._guard import Guard

PACE = Pace(first_s=0.02, longest_s=0.1, longest_pause_s=0.1, poll_s=0.05)


def main(store: str, url: str, marks: int, seconds: float) -> None:
    guard = Guard()
    keeper = Keeper([Budget("all", usd=10)], Path(store), guard=guard)
    delivery = Delivery(channels("alert_to", url), guard=guard, service="tests", outbox=keeper.outbox, pace=PACE)
    delivery.start()
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(marks):
        alert = Alert(kind="spike", budget="all", at=datetime.now(UTC), message=f"Number {number}.")
        stored_as = keeper.outbox.raise_alert(alert, mark=f"spike {number}")
        if stored_as is not None:
            delivery.send(alert, stored_as=stored_as)
    time.sleep(seconds)
    delivery.close()
    keeper.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
