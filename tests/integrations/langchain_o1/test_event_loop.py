"""The event loop while the bundled model thinks: it ticks every 10 ms and is never held up for long."""

from __future__ import annotations

import asyncio
import time

import pytest
from langchain_o1 import O1Embeddings

QUERIES = [f"Who wrote book number {number} about bees?" for number in range(8)]


@pytest.mark.slow
def test_the_loop_ticks_while_eight_queries_think() -> None:
    embeddings = O1Embeddings()
    embeddings.embed_query("warm up")
    gaps: list[float] = []

    async def tick() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.01)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    async def ask() -> None:
        ticking = asyncio.create_task(tick())
        await asyncio.gather(*(embeddings.aembed_query(query) for query in QUERIES))
        ticking.cancel()

    asyncio.run(ask())
    assert len(gaps) > 3
    assert max(gaps) < 0.1
