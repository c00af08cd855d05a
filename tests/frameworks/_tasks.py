"""A Celery app as a user writes it: the meter starts where the module is imported, before the workers are forked."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import anthropic
from celery import Celery

import claudetrace

folder = Path(os.environ["APP_FOLDER"])
app = Celery("tasks", broker="filesystem://", backend=f"file://{folder}/results")
app.conf.broker_transport_options = {
    "data_folder_in": str(folder / "queue"),
    "data_folder_out": str(folder / "queue"),
    "polling_interval": 0.05,
    "control_folder": str(folder / "control"),
}
app.conf.broker_connection_retry_on_startup = True

if os.environ.get("APP_METERED"):
    claudetrace.instrument(db=folder / "ledger.db")


@cache
def client_of(_pid: int) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key="k", base_url=os.environ["APP_API"], max_retries=0)


@app.task(name="answer")
@claudetrace.tag(feature="answer")
def answer(number: int) -> int:
    """One call for one user; gives the process that made it."""
    with claudetrace.tag(user=f"u{number}"):
        client_of(os.getpid()).messages.create(
            model="claude-sonnet-5", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
        )
    return os.getpid()
