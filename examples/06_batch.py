"""Answer a file of requests: upload, batch, wait, read. `make serve` must run; needs `pip install openai`."""

import json
import time

from openai import OpenAI

COUNTRIES = ("France", "Italy", "Japan")
URL = "/v1/chat/completions"


def request(country: str) -> str:
    question = [{"role": "user", "content": f"What is the capital of {country}?"}]
    body = {"model": "SmolLM2-135M-Instruct", "messages": question, "max_tokens": 20}
    return json.dumps({"custom_id": country, "method": "POST", "url": URL, "body": body})


client = OpenAI(base_url="http://127.0.0.1:8321/v1", api_key="none")
lines = "\n".join(request(country) for country in COUNTRIES)
file = client.files.create(file=("countries.jsonl", lines.encode()), purpose="batch")
batch = client.batches.create(input_file_id=file.id, endpoint=URL, completion_window="24h")
while batch.status not in ("completed", "failed", "expired", "cancelled"):
    time.sleep(0.5)
    batch = client.batches.retrieve(batch.id)
for line in client.files.content(batch.output_file_id).text.splitlines():
    answer = json.loads(line)
    print(answer["custom_id"], "-", answer["response"]["body"]["choices"][0]["message"]["content"])
