"""A chat that streams its answers, with what each conversation cost so far."""

import _offline  # noqa: F401 - plays the API where there is no key
import anthropic

import claudetrace


def chat(client: anthropic.Anthropic, user: str, questions: list[str]) -> None:
    messages: list[dict] = []
    with claudetrace.tag(feature="chat", user=user, session=f"chat-{user}") as conversation:
        for question in questions:
            print(f"\n{user}: {question}\nclaude: ", end="")
            messages.append({"role": "user", "content": question})
            with client.messages.stream(model="claude-haiku-5-5", max_tokens=200, messages=messages) as stream:
                for piece in stream.text_stream:
                    print(piece, end="", flush=True)
                messages.append({"role": "assistant", "content": stream.get_final_text()})
            print(f"\n  so far: {conversation.calls} calls, ${conversation.cost_usd:.6f}")


if __name__ == "__main__":
    with claudetrace.instrument() as meter:
        chat(anthropic.Anthropic(), "ada", ["What does a meter do?", "And what does it not do?"])
        meter.flush()
        for call in claudetrace.Ledger(meter.settings.db).calls(since="1h")[::-1]:
            print(f"{call.model}: first token after {call.time_to_first_token_ms:.0f} ms, ${call.cost_usd:.6f}")
