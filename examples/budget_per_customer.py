"""A web app in which each customer may spend so much a day, and is told with a 429 when there is more to spend.

As a server: `uvicorn budget_per_customer:app`. Needs `pip install fastapi uvicorn`.
"""

import math

import _offline  # noqa: F401 - plays the API where there is no key
import anthropic
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient

import claudetrace

claudetrace.instrument(
    budgets=[
        claudetrace.Budget("customer", usd="0.0003", per="day", tags={"customer": "*"}, on_exceeded="block"),
    ],
    alert_to=lambda alert: print(f"  alert: {alert.message}"),
)
client = anthropic.AsyncAnthropic()
app = FastAPI()


@app.exception_handler(claudetrace.BudgetExceeded)
async def tell_when_to_come_back(_request: Request, error: claudetrace.BudgetExceeded) -> JSONResponse:
    """No request has left: the budget has no room for the most that it could have cost."""
    # Moments where running calls hold the room, the time to the window's end where it is spent, nothing where no time
    # helps.
    headers = {} if error.retry_after_s is None else {"Retry-After": str(math.ceil(error.retry_after_s))}
    resets_at = error.resets_at and error.resets_at.isoformat()
    return JSONResponse({"error": "budget_exceeded", "resets_at": resets_at}, 429, headers)


@app.get("/ask/{customer}")
async def ask(customer: str, question: str) -> dict[str, str]:
    with claudetrace.tag(customer=customer):
        answer = await client.messages.create(
            model="claude-haiku-5-5", max_tokens=300, messages=[{"role": "user", "content": question}]
        )
    return {"answer": answer.content[0].text}


if __name__ == "__main__":
    with TestClient(app) as http:
        for customer in ("acme", "globex"):
            answered = 0
            while (got := http.get(f"/ask/{customer}", params={"question": "What does a meter do?"})).is_success:
                answered += 1
            print(f"{customer}: {answered} answers, then {got.status_code} {got.json()}")
            print(f"  Retry-After: {got.headers['Retry-After']} s")
