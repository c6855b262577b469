"""Real text without a download: what the packages of this Python say of themselves."""

import ast
import hashlib
import itertools
import json
import sysconfig
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from random import Random

import numpy

from benchmarks._embedded import Vectors, cache

SHORTEST, LONGEST = 120, 900  # characters of a text
GENERATED = ("oci", "kubernetes")  # packages that say the same of ten thousand fields


def texts(count: int) -> list[str]:
    """So many different ones: documentation of modules, classes and functions, mixed by a hash of each."""
    found = _all()
    if len(found) < count:
        raise SystemExit(f"Only {len(found)} texts were found, and {count} are wanted.")
    return sorted(found, key=lambda text: hashlib.sha256(text.encode()).digest())[:count]


def _all() -> list[str]:
    """To read them takes minutes: they are kept for as long as the same packages are there."""
    packages = sorted(f"{found.name} {found.version}" for found in metadata.distributions())
    kept = cache() / f"texts-{hashlib.sha256(repr(packages).encode()).hexdigest()[:16]}.json"
    if not kept.exists():
        print("Reading the documentation of the packages that are installed", flush=True)
        written = list(dict.fromkeys(text for path in _modules() for text in _documented(path)))
        kept.write_text(json.dumps(written))
    found: list[str] = json.loads(kept.read_text())
    return found


def composed(count: int) -> list[str]:
    """Texts that nobody wrote, at once: words as often as the standard library's documentation has them."""
    written = [text for path in itertools.islice(_modules(), 300) for text in _documented(path)]
    words = [word for text in written for word in text.split()]
    random = Random(0)
    return [" ".join(random.choices(words, k=random.randint(20, 120))) for _ in range(count)]


def _modules() -> Iterator[Path]:
    for name in ("stdlib", "purelib"):
        root = Path(sysconfig.get_paths()[name])
        skipped = {*GENERATED, "site-packages", "dist-packages"}
        yield from (path for path in sorted(root.rglob("*.py")) if path.relative_to(root).parts[0] not in skipped)


def _documented(path: Path) -> Iterator[str]:
    for said in documentation(path):
        text = " ".join(said.split())
        if len(text) >= SHORTEST and text.isprintable():
            yield text[:LONGEST]


def documentation(path: Path) -> Iterator[str]:
    """What a module says of itself, of its classes and its functions."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_text())
    except (SyntaxError, UnicodeDecodeError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def clustered(count: int, dimension: int = 384, clusters: int = 500, seed: int = 0) -> Vectors:
    """Vectors as near to each other as those of texts are, at once."""
    random = numpy.random.default_rng(seed)
    centres = random.standard_normal((clusters, dimension))
    made = centres[random.integers(clusters, size=count)] + random.standard_normal((count, dimension))
    vectors: Vectors = made.astype(numpy.float32)
    return vectors
