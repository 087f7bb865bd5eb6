"""A query's vector and thoughts from the query cache of a store, or made now and kept there.

The cache is that of `CacheBackedEmbeddings`, where it is one of ours: those know whose entries they hold. Another one
has bare texts as keys, or vectors without their thoughts, and is passed by.
"""

from __future__ import annotations

from langchain_core.vectorstores import VectorStore

from langchain_o1.embeddings import O1Embeddings
from langchain_o1.query_embedding import QueryEmbedding
from langchain_o1.vector_cache import VectorCache


def cache_of(store: VectorStore) -> VectorCache | None:
    """The cache that the embeddings of a store were given by `query_embedding_store=embeddings.query_cache(...)`."""
    cache = getattr(store.embeddings, "query_embedding_store", None)
    return cache if isinstance(cache, VectorCache) else None


def embed(embeddings: O1Embeddings, query: str, num_thoughts: int | None, cache: VectorCache | None) -> QueryEmbedding:
    """What `embed_query_with_thoughts` gives.

    Args:
        embeddings: think and embed; everything that decides their vectors is in the key.
        query: one text.
        num_thoughts: for this query; None takes the embeddings' own.
        cache: asked first; keeps what was made, but nothing degraded.
    """
    if cache is None or not isinstance(query, str):
        return embeddings.embed_query_with_thoughts(query, num_thoughts=num_thoughts)
    namespace = embeddings.query_namespace_of(num_thoughts)
    found = cache.recall(query, namespace)
    if found is None:
        found = embeddings.embed_query_with_thoughts(query, num_thoughts=num_thoughts)
        cache.remember(found, namespace)
    return found


async def aembed(
    embeddings: O1Embeddings, query: str, num_thoughts: int | None, cache: VectorCache | None
) -> QueryEmbedding:
    """As `embed`, and leaves the event loop free."""
    if cache is None or not isinstance(query, str):
        return await embeddings.aembed_query_with_thoughts(query, num_thoughts=num_thoughts)
    await embeddings.aembedder()  # the namespace needs the model, which loads in a thread
    namespace = embeddings.query_namespace_of(num_thoughts)
    found = await cache.arecall(query, namespace)
    if found is None:
        found = await embeddings.aembed_query_with_thoughts(query, num_thoughts=num_thoughts)
        await cache.aremember(found, namespace)
    return found
