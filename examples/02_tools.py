"""A model that calls a function of yours, and answers with what it returned.

pip install openai
python examples/02_tools.py [http://127.0.0.1:8321]
"""

import json
import sys

from openai import OpenAI


def capital(country: str) -> str:
    return {"France": "Paris", "Italy": "Rome", "Japan": "Tokyo"}.get(country, "unknown")


url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8321"
client = OpenAI(base_url=f"{url}/v1", api_key="none")
tool = {
    "type": "function",
    "function": {
        "name": "capital",
        "description": "The capital of a country",
        "parameters": {
            "type": "object",
            "properties": {"country": {"type": "string", "enum": ["France", "Italy", "Japan"]}},
            "required": ["country"],
            "additionalProperties": False,
        },
    },
}
messages = [{"role": "user", "content": "What is the capital of France?"}]

reply = client.chat.completions.create(
    model="SmolLM2-135M-Instruct",
    messages=messages,
    tools=[tool],
    tool_choice="required",  # so small a model would rarely decide to on its own
    temperature=0,
    max_tokens=100,
)
message = reply.choices[0].message
messages.append(message.to_dict())
for call in message.tool_calls or []:
    found = capital(**json.loads(call.function.arguments))
    print(f"{call.function.name}({call.function.arguments}) = {found}")
    messages.append({"role": "tool", "tool_call_id": call.id, "content": found})

reply = client.chat.completions.create(
    model="SmolLM2-135M-Instruct", messages=messages, tools=[tool], tool_choice="none", temperature=0, max_tokens=40
)
print(reply.choices[0].message.content)
