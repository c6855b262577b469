"""A chat, a stream and two embeddings with the official openai package.

pip install openai
python examples/01_chat.py [http://127.0.0.1:8321]
"""

import sys

from openai import OpenAI

url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8321"
client = OpenAI(base_url=f"{url}/v1", api_key="none")
question = [{"role": "user", "content": "What is the capital of France?"}]

reply = client.chat.completions.create(model="SmolLM2-135M-Instruct", messages=question, temperature=0, max_tokens=40)
print(reply.choices[0].message.content)

stream = client.chat.completions.create(
    model="SmolLM2-135M-Instruct", messages=question, temperature=0, max_tokens=40, stream=True
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()

cat, kitten = client.embeddings.create(model="all-MiniLM-L6-v2", input=["a cat", "a kitten"]).data
print(f"{len(cat.embedding)} dimensions, similarity {sum(map(float.__mul__, cat.embedding, kitten.embedding)):.2f}")
