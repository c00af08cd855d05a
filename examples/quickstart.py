"""Two lines record every call; `tag` says who it was for; the ledger tells what it cost."""

import _offline  # noqa: F401 - plays the API where there is no key
import anthropic

import claudetrace

claudetrace.instrument()

client = anthropic.Anthropic()
with claudetrace.tag(feature="hello", user="ada") as scope:
    answer = client.messages.create(
        model="claude-haiku-5-5",
        max_tokens=100,
        messages=[{"role": "user", "content": "Say in one sentence what a meter does."}],
    )

print(answer.content[0].text)
print(f"{scope.calls} call, ${scope.cost_usd:.6f}")

claudetrace.flush()
for spend in claudetrace.Ledger().spend(by="feature", since="1h"):
    print(f"{spend.key}: {spend.calls} calls, {spend.output_tokens} output tokens, ${spend.cost_usd:.6f}")
