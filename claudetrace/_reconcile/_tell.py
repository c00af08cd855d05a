"""Whoever should know what a reconciliation found: a gauge, and an alert where too little was seen."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from claudetrace._guard import Guard
from claudetrace._places import resource

if TYPE_CHECKING:
    from claudetrace._config import Settings
    from claudetrace._reconcile._run import Reconciliation

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
