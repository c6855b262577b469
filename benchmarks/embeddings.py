"""Our embeddings against sentence-transformers in fp32: the same sentences and process, alternating.

    python -m benchmarks.embeddings [--batch 32] [--repeats 9]

Ours is measured through the provider, from the request to its vectors as lists. Exits with
1 where a cosine is below 0.999.
"""

import argparse
import asyncio
import statistics
import sys
import time

import numpy
from sentence_transformers import SentenceTransformer

from apps.inference.local_models import fetch
from apps.inference.providers.inline import runtime
from apps.inference.providers.inline.sentence_transformers import SentenceTransformers, SentenceTransformersConfig
from apps.inference.schemas import EmbeddingRequest
from llamastack.call import ANONYMOUS_ADMIN, Call

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
CALL = Call(ANONYMOUS_ADMIN)
SUBJECTS = [
    "The museum",
    "A small dog",
    "The new railway line",
    "My neighbour",
    "The committee",
    "A storm",
    "Water",
    "He",
]
ENDINGS = [
    "sleeps.",
    "was seen near the harbour on Tuesday morning.",
    "has cost more than anybody expected when it was planned ten years ago, and it is not finished yet.",
    "will be discussed tomorrow, together with the budget, the school's roof and the question who may park there.",
]


def sentences(count: int) -> list[str]:
    """Sentences of 3 to 30 words."""
    made = [f"{subject} {ending}" for ending in ENDINGS for subject in SUBJECTS]
    return [made[place % len(made)] for place in range(count)]


async def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    folder = fetch(MODEL)
    reference = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    provider = SentenceTransformers("bench", SentenceTransformersConfig(model=MODEL, device="cpu"))
    await provider.start()
    texts = sentences(options.batch)
    request = EmbeddingRequest(model=MODEL, input=texts)

    async def ours() -> tuple[float, numpy.ndarray]:
        started = time.perf_counter()
        reply = await provider.post_embedding(CALL, request)
        return time.perf_counter() - started, numpy.array([item.embedding for item in reply.data])

    def theirs() -> tuple[float, numpy.ndarray]:
        started = time.perf_counter()
        vectors = reference.encode(texts, batch_size=options.batch, show_progress_bar=False)
        return time.perf_counter() - started, vectors

    pairs = [(await ours(), theirs()) for _ in range(options.repeats + 2)][2:]
    cosines = [float((mine * other).sum(axis=1).min()) for (_, mine), (_, other) in pairs]
    mine = statistics.median(seconds for (seconds, _), _ in pairs)
    other = statistics.median(seconds for _, (seconds, _) in pairs)
    await provider.stop()
    print(f"{MODEL}, CPU flags: {', '.join(sorted(runtime.bf16_flags())) or 'no native bf16'}")
    print(
        f"batch {options.batch}: ours {options.batch / mine:.0f}/s, sentence-transformers {options.batch / other:.0f}/s"
    )
    print(f"lowest cosine: {min(cosines):.5f}")
    print(f"embeddings_of_sentence_transformers={statistics.median(b[0] / a[0] for a, b in pairs):.2f}")
    return 0 if min(cosines) >= 0.999 else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
