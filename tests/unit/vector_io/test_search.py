"""From a file to an answer."""

from tests.unit.vector_io.conftest import Shelf

SKY = "The sky is blue because air scatters short waves of light."
SEA = "The sea is salt because rivers carry minerals into it."


async def test_the_right_chunk_answers(shelf: Shelf) -> None:
    store = await shelf.store(name="nature")
    sky = await shelf.attach(store, SKY, "sky.txt", attributes={"kind": "air"})
    await shelf.attach(store, SEA, "sea.txt")
    first, *_ = await shelf.search(store, "why is the sky blue")
    assert (first["file_id"], first["filename"], first["attributes"]) == (sky, "sky.txt", {"kind": "air"})
    assert first["content"] == [{"type": "text", "text": SKY}]
    assert 0 < first["score"] <= 1
    assert first["chunk_id"]
