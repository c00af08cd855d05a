"""Faults that an editor must underline. It is checked, never run: each line with `# wrong` is one."""

from __future__ import annotations

import claudetrace

claudetrace.instrumnet()  # wrong: no such name
claudetrace.instrument(spans="sometimes")  # wrong
claudetrace.instrument(attributes="few")  # wrong
claudetrace.instrument(records="kafka")  # wrong
claudetrace.instrument(db=True)  # wrong
claudetrace.instrument(retention=90)  # wrong: a duration has a unit
claudetrace.instrument(max_db_mb="500")  # wrong
claudetrace.instrument(budgets="all")  # wrong
claudetrace.instrument(alert_to=7)  # wrong
claudetrace.instrument(sinks=[print])  # wrong
claudetrace.instrument(sources=("openai",))  # wrong
claudetrace.instrument("ledger.db")  # wrong: settings are keywords
claudetrace.Budget("all", usd=5, on_exceeded="stop")  # wrong
claudetrace.Budget("all", usd=5, untagged="open")  # wrong
claudetrace.price({}, platform="azure")  # wrong
claudetrace.price({}, data_zone="eu")  # wrong
claudetrace.record({}, platform="azure")  # wrong
claudetrace.tag("acme")  # wrong: tags have names
claudetrace.tagged()  # wrong: no client
claudetrace.Ledger().spend(sinse="7d")  # wrong
claudetrace.Ledger().calls()[0].costs  # wrong # noqa: B018
