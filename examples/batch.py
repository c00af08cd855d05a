"""A batch: each result is a row when it is read, at the batch's price and under the tags of its creation."""

import time

import _offline  # noqa: F401 - plays the API where there is no key
import anthropic

import claudetrace

TICKETS = {"ticket-1": "I was charged twice.", "ticket-2": "Where is my bill?", "ticket-3": "Refund, please."}

if __name__ == "__main__":
    with claudetrace.instrument() as meter:
        client = anthropic.Anthropic()
        with claudetrace.tag(feature="sorting", prompt="sort@v2"):
            batch = client.messages.batches.create(
                requests=[
                    {
                        "custom_id": custom_id,
                        "params": {
                            "model": "claude-haiku-5-5",
                            "max_tokens": 10,
                            "messages": [{"role": "user", "content": f"One word for this ticket: {ticket}"}],
                        },
                    }
                    for custom_id, ticket in TICKETS.items()
                ]
            )
        while client.messages.batches.retrieve(batch.id).processing_status != "ended":
            time.sleep(10)
        for result in client.messages.batches.results(batch.id):
            print(result.custom_id, result.result.type)
        meter.flush()
        for spend in claudetrace.Ledger(meter.settings.db).spend(by="prompt", since="1h"):
            print(f"{spend.key}: {spend.responses} rows, ${spend.cost_usd:.6f}")
