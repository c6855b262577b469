"""Answers with citations: files become a vector store, a search finds what answers, and a chat model says it.

pip install openai
python examples/07_rag.py [http://127.0.0.1:8321] [FILE …]
"""

import io
import sys
from pathlib import Path

from openai import OpenAI

TEXTS = {
    "sky.txt": "The sky looks blue because air scatters short waves of light more than long ones.",
    "sea.txt": "Sea water is salt since rivers carry dissolved minerals from rocks into it for ages.",
}
QUESTION = "Where does the ocean's taste come from?"

url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8321"
files = {Path(name).name: Path(name).read_bytes() for name in sys.argv[2:]}
files = files or {name: text.encode() for name, text in TEXTS.items()}
client = OpenAI(base_url=f"{url}/v1", api_key="none")

store = client.vector_stores.create(name="example")
for name, content in files.items():
    file = client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=(name, io.BytesIO(content)))
    print(f"{name}: {file.status}", file.last_error.message if file.last_error else "")

found = client.vector_stores.search(store.id, query=QUESTION, max_num_results=2).data
for result in found:
    page = result.to_dict()["page"]
    print(f"[{result.filename}{f', page {page}' if page else ''}, {result.score:.2f}] {result.content[0].text}")

sources = "\n".join(result.content[0].text for result in found)
question = {"role": "user", "content": f"{sources}\n\nBy these texts alone, in one sentence: {QUESTION}"}
reply = client.chat.completions.create(model="SmolLM2-135M-Instruct", messages=[question], max_tokens=60)
print(reply.choices[0].message.content)
client.vector_stores.delete(store.id)
