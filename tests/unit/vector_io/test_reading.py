"""What a file of a vector store is made into, before it is embedded."""

import pytest

from apps.file_processors.chunking import Rough, Strategy
from apps.file_processors.protocol import Page
from apps.vector_io.reading import MOST_CHUNKS, pieces_of
from llamastack.errors import TooLarge


def test_a_file_has_only_so_many_chunks() -> None:
    ones = Strategy(1, 0)
    assert len(pieces_of([Page(None, "a " * MOST_CHUNKS)], ones, Rough())) == MOST_CHUNKS
    with pytest.raises(TooLarge, match="more than 50,000 chunks"):
        pieces_of([Page(None, "a " * (MOST_CHUNKS + 1))], ones, Rough())
