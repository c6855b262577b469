"""A file of requests answered as a batch: upload it, wait, read what came of it.

pip install openai
python examples/06_batch.py [http://127.0.0.1:8321]
"""

import json
import sys
import time

from openai import OpenAI

COUNTRIES = ("France", "Italy", "Japan")
ENDPOINT = "/v1/chat/completions"


def request(country: str) -> str:
    question = [{"role": "user", "content": f"What is the capital of {country}?"}]
    body = {"model": "SmolLM2-135M-Instruct", "messages": question, "max_tokens": 20}
    return json.dumps({"custom_id": country, "method": "POST", "url": ENDPOINT, "body": body})


url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8321"
client = OpenAI(base_url=f"{url}/v1", api_key="none")
lines = "\n".join(request(country) for country in COUNTRIES)
file = client.files.create(file=("countries.jsonl", lines.encode()), purpose="batch")
batch = client.batches.create(input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h")
while batch.status not in ("completed", "failed", "expired", "cancelled"):
    time.sleep(0.5)
    batch = client.batches.retrieve(batch.id)
if batch.error_file_id:  # a line for each request that failed
    print(client.files.content(batch.error_file_id).text)
if batch.output_file_id is None:
    sys.exit(f"{batch.status}: {batch.errors or 'no request was answered'}")
for line in client.files.content(batch.output_file_id).text.splitlines():
    answer = json.loads(line)
    print(answer["custom_id"], "-", answer["response"]["body"]["choices"][0]["message"]["content"])
