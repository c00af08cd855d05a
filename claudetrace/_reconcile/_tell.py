"""Whoever should know what a reconciliation found: a gauge, and an alert where too little was seen."""

from __future__ import annotations

import os
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING

from claudetrace._call import exact_usd
from claudetrace._errors import dollars
from claudetrace._guard import Guard
from claudetrace._places import resource

if TYPE_CHECKING:
    from fractions import Fraction

    from claudetrace._alerts._send_test import Tried
    from claudetrace._config import Settings
    from claudetrace._reconcile._run import Reconciliation

UNSEEN = (
    "{seen} of what Anthropic lists for {scope} from {since} until {until} is of calls in the ledger, less than "
    "{at_least}: {missing} is of calls that nobody recorded. Look for programs without claudetrace in "
    "`claudetrace reconcile`."
)
GAUGE = "claudetrace.reconcile.capture_ratio"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
SENDING_S = 10.0


def tell_metrics(found: Reconciliation, settings: Settings) -> None:
    """Records the capture rate on the process's own meter provider, else sends it to the collector that the settings
    or the environment name. Never raises."""
    if found.capture_ratio is None or not settings.metrics:
        return
    from claudetrace._telemetry._providers import Providers

    guard = Guard()
    otlp = settings.otlp or any(os.environ.get(name) for name in ENDPOINTS)
    providers = Providers(otlp, guard, resource())
    with guard("tell the capture rate"):
        if (provider := providers.meter_provider()) is not None:
            gauge = provider.get_meter("claudetrace").create_gauge(
                GAUGE, "1", "The share of Anthropic's list price that is of calls in the ledger."
            )
            scope = {"claudetrace.reconcile.scope": found.asked.scope} if found.asked.scope else {}
            gauge.set(float(found.capture_ratio), scope)
    providers.close(SENDING_S)


def alert_unseen(found: Reconciliation, at_least: Fraction, settings: Settings) -> list[Tried]:
    """Sends an alert of the kind `unseen` through the channels of the settings where less than `at_least` was seen of
    what was named, and what came of it. Blocks for seconds at most."""
    if not found.is_below(at_least) or found.capture_ratio is None:
        return []
    from claudetrace._alerts._alert import Alert
    from claudetrace._alerts._send_test import send_now
    from claudetrace._parse import alert_to

    since, until = (datetime.combine(day, time(), UTC) for day in (found.asked.since, found.asked.until))
    missing = sum(amount for amount in found.unseen.values() if amount > 0)
    message = UNSEEN.format(
        seen=f"{float(found.capture_ratio):.2%}",
        at_least=f"{float(at_least):.2%}",
        scope=found.asked.scope,
        since=found.asked.since,
        until=found.asked.until,
        missing=dollars(exact_usd(missing)),
    )
    alert = Alert(
        kind="unseen",
        threshold=float(at_least),
        window_start=since,
        window_end=until,
        key=found.asked.scope,
        at=datetime.now(UTC),
        message=message,
    )
    return send_now(alert, settings.alert_to or alert_to("alert_to", None), service=resource()["service"])
