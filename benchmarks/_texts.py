"""Real text without a download: what the packages of this Python say of themselves, and its vectors, kept for later."""

import ast
import hashlib
import itertools
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy

from apps.inference.local_models import fetch
from llamastack.home import home

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
SHORTEST, LONGEST = 120, 900  # characters of a text
BATCH = 512
Vectors = numpy.ndarray[Any, numpy.dtype[numpy.float32]]


def texts(count: int) -> list[str]:
    """So many different ones: documentation of modules, classes and functions, mixed by a hash of each."""
    found: dict[str, None] = {}
    for path in _modules():
        found.update(dict.fromkeys(_documented(path)))
        if len(found) > 1.2 * count:
            break
    if len(found) < count:
        raise SystemExit(f"Only {len(found)} texts were found, and {count} are wanted.")
    return sorted(found, key=lambda text: hashlib.sha256(text.encode()).digest())[:count]


def composed(count: int) -> list[str]:
    """Texts that nobody wrote, at once: words as often as the standard library's documentation has them."""
    written = [text for path in itertools.islice(_modules(), 300) for text in _documented(path)]
    words = [word for text in written for word in text.split()]
    random = Random(0)
    return [" ".join(random.choices(words, k=random.randint(20, 120))) for _ in range(count)]


def _modules() -> Iterator[Path]:
    for name in ("stdlib", "purelib"):
        yield from sorted(Path(sysconfig.get_paths()[name]).rglob("*.py"))


def _documented(path: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_text())
    except (SyntaxError, UnicodeDecodeError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            said = " ".join((ast.get_docstring(node) or "").split())
            if len(said) >= SHORTEST and said.isprintable():
                yield said[:LONGEST]


def embedded(given: list[str]) -> Vectors:
    """MiniLM's vectors. They take minutes, so that they are kept for the next run with the same texts."""
    name = hashlib.sha256("\0".join(given).encode()).hexdigest()[:16]
    kept = home() / "bench" / f"minilm-{name}.npy"
    if kept.exists():
        loaded: Vectors = numpy.load(kept, allow_pickle=False)
        return loaded
    from apps.inference.providers.inline.sentence_transformers.encoder import Encoder

    encoder = Encoder(fetch(MODEL), device="auto", dtype="auto")
    order = sorted(range(len(given)), key=lambda place: len(given[place]))
    vectors = numpy.empty((len(given), encoder.dimension), dtype=numpy.float32)
    for start in range(0, len(order), BATCH):
        places = order[start : start + BATCH]
        vectors[places] = encoder.vectors([tokens[:256] for tokens in encoder.tokenize([given[n] for n in places])])
        print(f"\r{start + len(places):,} of {len(given):,} texts embedded", end="", flush=True)
    print()
    kept.parent.mkdir(parents=True, exist_ok=True)
    numpy.save(kept, vectors)
    return vectors


def clustered(count: int, dimension: int = 384, clusters: int = 500, seed: int = 0) -> Vectors:
    """Vectors as near to each other as those of texts are, at once."""
    random = numpy.random.default_rng(seed)
    centres = random.standard_normal((clusters, dimension))
    made = centres[random.integers(clusters, size=count)] + random.standard_normal((count, dimension))
    vectors: Vectors = made.astype(numpy.float32)
    return vectors
