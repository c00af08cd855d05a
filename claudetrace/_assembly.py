"""`Assembly`: what runs behind one `instrument()`, put together from its settings."""

from __future__ import annotations

import logging
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claudetrace._attribution import Attribution
from claudetrace._clock import monotonic
from claudetrace._consumers import Feed, to_each, to_sinks
from claudetrace._errors import ClaudetraceError
from claudetrace._exit import OTHERS_S
from claudetrace._files import set_file_mode, warn_of_fragile
from claudetrace._ids import SeenIds
from claudetrace._places import RECORDS_DB, default_db, resource
from claudetrace._pricing._list import use_rates_of
from claudetrace._pricing._own import load_own_rates
from claudetrace._recorder import CallRecorder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._budgets import Budgets
    from claudetrace._budgets._status import BudgetState
    from claudetrace._budgets._windows import Window
    from claudetrace._call import Row
    from claudetrace._config import Settings
    from claudetrace._consumers import OnRows, Take
    from claudetrace._guard import Guard
    from claudetrace._ledger._loader import LedgerWriter
    from claudetrace._telemetry._exporters import Exporters
    from claudetrace._telemetry._metrics import Metrics
    from claudetrace._telemetry._providers import Providers
    from claudetrace._telemetry._spans import Spans

log = logging.getLogger("claudetrace")

CLOSE_S = 2.0
FLUSH_BUDGETS_S = 5.0
"""How long a flush waits for the budgets' store. What it returns does not depend on it."""


class Assembly:
    """Recorder, writer and telemetry of one `instrument()`. Raises `ClaudetraceError` for a setting that cannot be."""

    def __init__(self, settings: Settings, guard: Guard, *, replaces: Assembly | None = None) -> None:
        self._settings = settings
        set_file_mode(settings.file_mode)
        self._guard = guard
        self._writer: LedgerWriter | Feed | None = None
        self._loader: LedgerWriter | None = None
        self._successor: Budgets | None = None
        self.budgets: Budgets | None = None
        use_rates_of(settings.db)
        # What can refuse a setting comes before what starts anything.
        self.own_rates = None if settings.rates is None else load_own_rates(settings.rates, file=settings.rates_file)
        self.attribution = Attribution(settings, dict(resource()))
        self._providers = self._make_providers()
        self._metrics = self._make_metrics()
        self.budgets = self._make_budgets()
        spans = self._make_spans()
        self._writer = self._make_writer()
        if self._providers is not None and self._writer is not None:
            self._providers.hand_over = self._writer.flush
        append = (lambda _row: None) if self._writer is None else self._writer.append
        seen = SeenIds() if any(host.replays for host in settings.hosts.values()) else None
        self.recorder = CallRecorder(
            guard,
            self.attribution,
            append,
            spans,
            self._metrics,
            self.budgets,
            seen,
            agents=settings.agents,
        )
        left_behind = isinstance(settings.budget_store, Path) and settings.budget_store.exists()
        if self.budgets is not None:
            if replaces is not None:
                replaces.hand_over_to(self.budgets, settings.db)
            self.budgets.start()
        self._begin_loader(left_behind=left_behind)

    def health(self) -> dict[str, Any]:
        """What became of the rows of this process."""
        return {} if self._writer is None else self._writer.health()

    def flush(self, timeout_s: float) -> bool:
        """Whether all that was recorded is in the ledger, acknowledged where records are sent, and with exporters.
        Blocks at most `timeout_s`."""
        until = monotonic() + timeout_s
        self.recorder.end_late()
        if self.budgets is not None:
            # First: a receiver of records that is away may take all of the time.
            if self._loader is not None:
                self._loader.load(timeout_s)
            self.budgets.flush(min(FLUSH_BUDGETS_S, until - monotonic()))
        written = True if self._writer is None else self._writer.flush(max(0.0, until - monotonic()))
        left_s = max(0.0, until - monotonic())
        return (True if self._providers is None else self._providers.flush(left_s)) and written

    def close(self, *, kept_sinks: tuple[Any, ...]) -> None:
        """Writes and sends what is left, and ends everything but `kept_sinks`.

        The last part of its two seconds is for spans and metrics: rows that are not sent wait in the ledger, those
        nowhere."""
        until = monotonic() + CLOSE_S
        self.recorder.close()
        if self._writer is not None:
            self._writer.close(CLOSE_S - OTHERS_S)
        if self.budgets is not None:
            self.budgets.close()
        if self._metrics is not None:
            self._metrics.close()
        if self._providers is not None:
            self._providers.close(max(OTHERS_S, until - monotonic()))
        for sink in self._settings.sinks:
            if not any(sink is kept for kept in kept_sinks):
                with self._guard("close a sink"):
                    sink.close()

    def hand_over_to(self, successor: Budgets, db: Path | None) -> None:
        """Loads what was recorded, for `successor` to begin from where it has the same ledger. What still comes is
        counted in `successor` as well."""
        if self._loader is None or db is None or db != self._settings.db or successor.writer is None:
            return
        # In this order: each row is in the ledger before the store begins, or is offered to it.
        self._successor = successor
        if not self._loader.load(CLOSE_S - OTHERS_S):
            log.warning("the ledger is slow: budgets may miss what was spent in the moments before they began")

    def _begin_loader(self, *, left_behind: bool) -> None:
        if self._loader is not None:
            self._loader.send_left()
            if left_behind:
                # What a process that died has reserved would stop the first call of this one.
                self._loader.begin()

    def _make_providers(self) -> Providers | None:
        if self._settings.spans == "off" and not self._settings.metrics:
            return None
        from claudetrace._telemetry._providers import Providers

        return Providers(self._settings.otlp, self._guard, resource())

    def _count(self, rows: list[Row]) -> None:
        if self.budgets is not None:
            self.budgets.count(rows)
        if self._successor is not None:
            self._successor.count_aside(rows)

    def _make_metrics(self) -> Metrics | None:
        if not self._settings.metrics or self._providers is None:
            return None
        from claudetrace._telemetry._metrics import Metrics

        budgets = self._budget_states if self._settings.budgets else None
        tags = self._settings.metric_tags
        return Metrics(self._providers.meter_provider, self._journal, self._guard, budgets, tags)

    def _make_spans(self) -> Spans | None:
        if self._settings.spans == "off" or self._providers is None:
            return None
        from claudetrace._telemetry._spans import Spans

        backends, everywhere = self._settings.attributes == "all", self._settings.spans == "own"
        return Spans(self._providers, backends=backends, everywhere=everywhere)

    def _make_budgets(self) -> Budgets | None:
        settings = self._settings
        if not settings.budgets and not settings.alert_to:
            return None
        from claudetrace._alerts._alert import Origin, here
        from claudetrace._budgets._budgets import Budgets
        from claudetrace._parse import alert_to

        before = None if settings.db is None else partial(_spent_before, settings.db)
        if isinstance(settings.budget_store, Path):
            warn_of_fragile(settings.budget_store, "what budgets have spent", "budget_store")
        if settings.hash_tags and settings.hash_key is None and not isinstance(settings.budget_store, Path | None):
            log.warning("claudetrace hashes tags by a key of this host: set one CLAUDETRACE_HASH_KEY on all hosts")
        of_store = settings.budgets == "store"
        named = resource()
        db = settings.db if settings.db is not None and settings.db != default_db() else None
        here[0] = Origin(
            named["service"],
            named.get("environment"),
            named["instance"],
            None if db is None else str(db),
            settings.dashboard_url,
        )
        return Budgets(
            () if settings.budgets == "store" else settings.budgets,
            settings.budget_store,
            settings.alert_to or alert_to("alert_to", None),
            guard=self._guard,
            spent_before=before,
            of_store=of_store,
        )

    def _make_writer(self) -> LedgerWriter | Feed | None:
        """What takes the rows, or `None` where nobody wants any."""
        settings = self._settings
        consumers = self._make_consumers()
        if settings.db is not None or settings.sinks or settings.records is not None or self.budgets is not None:
            return self._ledger_writer(consumers)
        if consumers is None or self._providers is None:
            return None
        return Feed(self._guard, consumers, wanted=self._providers.takes_metrics)

    def _make_consumers(self) -> OnRows | None:
        takers: dict[str, Take] = {}
        if self._settings.sinks:
            takers["hand calls to the sinks"] = to_sinks(self._settings.sinks, self._guard)
        if self._metrics is not None:
            takers["count calls in metrics"] = self._metrics.write
        if self._settings.records == "stdout":
            from claudetrace._telemetry._stdout import write_lines

            takers["write records to stdout"] = partial(write_lines, self._guard)
        if self.budgets is not None:
            if self._settings.db is None:
                takers["count calls in budgets"] = self.budgets.count
            takers["look for what to alert of"] = self.budgets.look
        return to_each(takers, self._guard) if takers else None

    def _ledger_writer(self, consumers: OnRows | None) -> LedgerWriter:
        if sys.platform == "win32":
            raise ClaudetraceError("the ledger needs Linux or macOS: pass db=False to have spans alone")
        from claudetrace._ledger._loader import LedgerWriter

        db, records = self._settings.db, self._make_records()
        only_outbox = db is None and records is not None
        self._loader = LedgerWriter(
            default_db().with_name(RECORDS_DB) if only_outbox else db,
            guard=self._guard,
            retention_days=self._settings.retention_days,
            max_db_mb=self._settings.max_db_mb,
            on_rows=consumers,
            records=records,
            only_outbox=only_outbox,
            before_commit=None if self._settings.db is None else self._count,
            on_tick=None if self.budgets is None else self._tick,
        )
        return self._loader

    def _make_records(self) -> Exporters | None:
        if self._settings.records != "otlp":
            return None
        from claudetrace._telemetry import _records
        from claudetrace._telemetry._exporters import Exporters

        _records.check()
        return Exporters(partial(_records.RecordExporter, self._settings.otlp), self._guard)

    def _budget_states(self) -> Sequence[BudgetState]:
        return [] if self.budgets is None else self.budgets.observed()

    def _tick(self) -> None:
        if self.budgets is not None:
            self.budgets.tick(self._journal()["lost"])

    def _journal(self) -> dict[str, int]:
        health = self.health()
        return {"lost": health.get("lost", 0), "pending": health.get("pending", 0)}


def _spent_before(ledger: Path, budget: Budget, window: Window) -> dict[str, tuple[int, int]]:
    """What the ledger says that a budget has spent in a window, by each key."""
    from claudetrace._budgets._budget import EACH
    from claudetrace._ledger._seed import spent_before

    tags = budget.tags or {}
    return spent_before(ledger, start_s=window.start, end_s=window.end, model=budget.model, tags=tags, each=EACH)
