"""An agent that would go on and on: `with Budget(per="run")` is what this run of it may spend."""

import _offline  # noqa: F401 - plays the API where there is no key
import anthropic

import claudetrace

TOOLS = [
    {
        "name": "search",
        "description": "Search the archive.",
        "input_schema": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
    }
]


def search(query: str) -> str:
    return f"Nothing new about {query}; try other words."


def research(client: anthropic.Anthropic, question: str) -> str:
    messages: list[dict] = [{"role": "user", "content": question}]
    while True:
        answer = client.messages.create(model="claude-haiku-5-5", max_tokens=300, tools=TOOLS, messages=messages)
        calls = [block for block in answer.content if block.type == "tool_use"]
        if not calls:
            return answer.content[0].text
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": search(**call.input)} for call in calls]
        messages += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]


if __name__ == "__main__":
    with claudetrace.instrument():
        # In this process and in memory; calls in threads and tasks that the block starts are in it too.
        with claudetrace.Budget(usd="0.002", per="run") as run:
            try:
                print(research(anthropic.Anthropic(), "All that is known of meters, please."))
            except claudetrace.BudgetExceeded as error:
                print(f"Stopped: {error}")
        print(f"{run.calls} calls for ${run.spent_usd:.6f}, ${run.left_usd:.6f} left")
