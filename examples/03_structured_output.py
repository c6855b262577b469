"""An answer that fits a pydantic model, and one that is one of two words.

pip install openai
python examples/03_structured_output.py [http://127.0.0.1:8321]
"""

import sys
from typing import Literal

from openai import OpenAI
from pydantic import BaseModel


class City(BaseModel):
    name: str
    country: str
    continent: Literal["Africa", "America", "Asia", "Europe", "Oceania"]


url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8321"
client = OpenAI(base_url=f"{url}/v1", api_key="none")

reply = client.chat.completions.parse(
    model="SmolLM2-135M-Instruct",
    messages=[{"role": "user", "content": "Describe the city of Paris in France as JSON."}],
    response_format=City,
    temperature=0,
    max_tokens=100,
)
print(repr(reply.choices[0].message.parsed))

answer = client.chat.completions.create(
    model="SmolLM2-135M-Instruct",
    messages=[{"role": "user", "content": "Is Paris the capital of France? Answer with yes or no."}],
    temperature=0,
    extra_body={"structured_outputs": {"choice": ["yes", "no"]}},  # vLLM's field: also json, regex and grammar
)
print(answer.choices[0].message.content)
