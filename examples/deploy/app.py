"""The example's application: a web service that asks Claude for each request. Its settings come from outside.

uvicorn app:app --host 0.0.0.0 --port 8000
"""

import math
from contextlib import asynccontextmanager
from typing import Any

import anthropic
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse

import claudetrace
from claudetrace.middleware import TagsASGI

# Limits are in the database, where no program can raise its own. Rows and metrics go where OTEL_EXPORTER_OTLP_* say.
METER = claudetrace.instrument(budgets="store", budget_store="env:DATABASE_URL", records="otlp", otlp=True)
CLIENT = anthropic.AsyncAnthropic()


@asynccontextmanager
async def lifespan(_app: FastAPI) -> Any:
    yield
    # What the last moments left is in the ledger, and at the receiver, before the pod goes.
    claudetrace.flush(timeout_s=5.0)


app = FastAPI(lifespan=lifespan)
app.add_middleware(TagsASGI, tags=lambda scope: {"feature": scope["path"].strip("/")})


@app.exception_handler(claudetrace.BudgetExceeded)
async def refuse(_request: Request, error: claudetrace.BudgetExceeded) -> JSONResponse:
    after = {} if error.retry_after_s is None else {"Retry-After": str(math.ceil(error.retry_after_s))}
    return JSONResponse({"error": "budget_exceeded", "budget": error.budget}, 429, after)


@app.get("/ask")
async def ask(customer: str, question: str) -> PlainTextResponse:
    with claudetrace.tag(customer=customer):
        answer = await CLIENT.messages.create(
            model="claude-haiku-5-5", max_tokens=300, messages=[{"role": "user", "content": question}]
        )
    return PlainTextResponse(answer.content[0].text)


@app.get("/healthz")
async def healthz() -> PlainTextResponse:
    """For probes: the process answers. A meter that fails is no reason to restart it."""
    return PlainTextResponse("ok\n")
