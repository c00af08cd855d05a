"""An agent with a tool, and what each of its runs cost."""

import _offline  # noqa: F401 - plays the API where there is no key
import anthropic

import claudetrace

TOOLS = [
    {
        "name": "weather",
        "description": "The weather in a city.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]


def weather(city: str) -> str:
    return f"Snow in {city}, -3 °C."


def run(client: anthropic.Anthropic, question: str) -> str:
    messages: list[dict] = [{"role": "user", "content": question}]
    while True:
        answer = client.messages.create(model="claude-haiku-5-5", max_tokens=500, tools=TOOLS, messages=messages)
        calls = [block for block in answer.content if block.type == "tool_use"]
        if not calls:
            return answer.content[0].text
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": weather(**call.input)} for call in calls]
        messages += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]


if __name__ == "__main__":
    with claudetrace.instrument() as meter:
        client = anthropic.Anthropic()
        for number in (1, 2):
            # The scope adds up whatever the run calls, also in functions that know nothing of it.
            with claudetrace.tag(feature="agent", session=f"run-{number}") as scope:
                print(run(client, "Do I need a coat in Oslo?"))
            print(f"  run {number}: {scope.calls} calls, ${scope.cost_usd:.6f}, {scope.unpriced_calls} without a price")
        meter.flush()
        ledger = claudetrace.Ledger(meter.settings.db)
        for spend in ledger.spend(by="session", since="1h", where={"feature": "agent"}):
            print(f"{spend.key}: {spend.tool_calls} tool calls, ${spend.cost_usd:.6f}")
