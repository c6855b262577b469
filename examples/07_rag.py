"""Answers with citations: files become a vector store, a search finds what answers, and a chat model says it.

pip install openai
python examples/07_rag.py [--question TEXT] [http://127.0.0.1:8321] [FILE …]
"""

import argparse
import io
from pathlib import Path

from openai import OpenAI

TEXTS = {
    "sky.txt": "The sky looks blue because air scatters short waves of light more than long ones.",
    "sea.txt": "Sea water is salt since rivers carry dissolved minerals from rocks into it for ages.",
}

parser = argparse.ArgumentParser()
parser.add_argument("--question", default="Why is the ocean salty?")
parser.add_argument("url", nargs="?", default="http://127.0.0.1:8321")
parser.add_argument("files", nargs="*", type=Path)
asked = parser.parse_args()
files = {path.name: path.read_bytes() for path in asked.files} or {name: text.encode() for name, text in TEXTS.items()}
client = OpenAI(base_url=f"{asked.url}/v1", api_key="none")

store = client.vector_stores.create(name="example")
for name, content in files.items():
    file = client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=(name, io.BytesIO(content)))
    print(f"{name}: {file.status}", file.last_error.message if file.last_error else "")

found = client.vector_stores.search(store.id, query=asked.question, max_num_results=2).data
for result in found:
    page = result.to_dict()["page"]
    print(f"[{result.filename}{f', page {page}' if page else ''}, {result.score:.2f}] {result.content[0].text}")

if found:  # so small a model follows one text better than several
    prompt = f"{found[0].content[0].text}\n\nBy this text alone, in one sentence: {asked.question}"
    question = {"role": "user", "content": prompt}
    reply = client.chat.completions.create(model="SmolLM2-135M-Instruct", messages=[question], max_tokens=60)
    print(reply.choices[0].message.content)
client.vector_stores.delete(store.id)
