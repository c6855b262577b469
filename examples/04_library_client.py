"""The same without a server: the Stack runs inside this program, and no port is opened.

.venv/bin/pip install llama-stack-client fire requests openai
.venv/bin/llama model download HuggingFaceTB/SmolLM2-135M-Instruct
.venv/bin/python examples/04_library_client.py
"""

from llamastack import LlamaStackAsLibraryClient

question = [{"role": "user", "content": "What is the capital of France?"}]

with LlamaStackAsLibraryClient("starter") as client:
    print([model.identifier for model in client.models.list()])
    reply = client.chat.completions.create(
        model="SmolLM2-135M-Instruct", messages=question, temperature=0, max_tokens=40
    )
    print(reply.choices[0].message.content)

    stream = client.as_openai().chat.completions.create(
        model="SmolLM2-135M-Instruct", messages=question, temperature=0, max_tokens=40, stream=True
    )
    for chunk in stream:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()
