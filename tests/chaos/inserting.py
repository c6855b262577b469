"""A process that inserts into a vector store, and tells each file once it has been answered, until it is killed.

python -m tests.chaos.inserting '{"provider_type": …, "config": …, "store": […], "first": 0}'
"""

import asyncio
import itertools
import json
import sys

from apps.vector_io.protocol import Store
from tests.conformance.vector_stores import CALL, Kept, many

CHUNKS = 40


async def main() -> None:
    told = json.loads(sys.argv[1])
    store = Store(*told["store"])
    async with Kept(told["provider_type"], told["config"]).started() as provider:
        for number in itertools.count(told["first"]):
            await provider.insert(CALL, store, many(CHUNKS, f"file-{number}", seed=number))
            await provider.insert(CALL, store, many(CHUNKS, "again", seed=number, attributes={"number": number}))
            print(number, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
