"""MiniLM's vectors of texts, kept in the user's cache: each is computed once, whatever it is asked for together with.

    python -m benchmarks._embedded [--chunks 50000] [--searches 200] [--threads 1]

computes those of benchmarks/rag.py ahead. It may be stopped: what it has computed by then is kept.
"""

import argparse
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

from apps.inference.local_models import fetch

if TYPE_CHECKING:
    from apps.inference.providers.inline.sentence_transformers.encoder import Encoder

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
DIMENSION = 384
READ = 256  # tokens of a text
TOKENS = 8192  # of a batch
FEWER = 20_000  # chunks, which are enough where there is no time for all
SHARD = 2000  # texts of a file
ROW = numpy.dtype([("text", "V16"), ("vector", "<f4", DIMENSION)])
Vectors = numpy.ndarray[Any, numpy.dtype[numpy.float32]]


def cache() -> Path:
    kept = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(kept) if kept else Path.home() / ".cache") / "llamastack-bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def embedded(given: Sequence[str]) -> Vectors:
    """A row a text."""
    folder = cache() / MODEL.replace("/", "--")
    folder.mkdir(exist_ok=True)
    names = [hashlib.sha256(text.encode()).digest()[:16] for text in given]
    known = _known(folder, set(names))
    missing = {name: text for name, text in zip(names, given, strict=True) if name not in known}
    known |= _computed(folder, missing)
    return numpy.stack([known[name] for name in names])


def _known(folder: Path, wanted: set[bytes]) -> dict[bytes, Vectors]:
    found: dict[bytes, Vectors] = {}
    for path in sorted(folder.glob("*.npy")):
        rows = numpy.load(path, allow_pickle=False)
        for place, name in enumerate(rows["text"]):
            if name.tobytes() in wanted:
                found[name.tobytes()] = rows["vector"][place]
    return found


def _computed(folder: Path, missing: dict[bytes, str]) -> dict[bytes, Vectors]:
    if not missing:
        return {}
    from apps.inference.providers.inline.sentence_transformers.encoder import Encoder

    encoder = Encoder(fetch(MODEL), device="auto", dtype="auto")
    order = sorted(missing, key=lambda name: len(missing[name]))
    found: dict[bytes, Vectors] = {}
    began = time.monotonic()
    for start in range(0, len(order), SHARD):
        names = order[start : start + SHARD]
        rows = numpy.empty(len(names), dtype=ROW)
        rows["text"] = [numpy.void(name) for name in names]
        rows["vector"] = vectors_of(encoder, [missing[name] for name in names])
        _save(folder, rows)
        found.update(zip(names, rows["vector"], strict=True))
        rate = len(found) / (time.monotonic() - began)
        print(f"{len(found):,} of {len(order):,} texts embedded, {rate:,.0f} a second", flush=True)
    return found


def vectors_of(encoder: "Encoder", texts: Sequence[str]) -> Vectors:
    """Computed now, those of like lengths together."""
    tokens = [tokens[:READ] for tokens in encoder.tokenize(texts)]
    found = numpy.empty((len(texts), encoder.dimension), dtype=numpy.float32)
    for places in _batches(tokens):
        found[places] = encoder.vectors([tokens[place] for place in places])
    return found


def _batches(tokens: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Places of texts of like lengths, which are filled up to the longest."""
    batch: list[int] = []
    for place in sorted(range(len(tokens)), key=lambda place: len(tokens[place])):
        if batch and (len(batch) + 1) * len(tokens[place]) > TOKENS:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _save(folder: Path, rows: Any) -> None:
    path = folder / f"{hashlib.sha256(rows['text'].tobytes()).hexdigest()[:16]}.npy"
    part = path.with_suffix(f".{os.getpid()}")
    with part.open("wb") as file:
        numpy.save(file, rows, allow_pickle=False)
    part.replace(path)


def main() -> None:
    from benchmarks._texts import texts

    parser = argparse.ArgumentParser()
    parser.add_argument("--chunks", type=int, default=50_000)
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    for chunks in sorted({min(FEWER, options.chunks), options.chunks}):
        embedded(texts(chunks + options.searches))


if __name__ == "__main__":
    main()
