"""O1 Embedder as a LlamaIndex embedding model: the query side thinks, the text side does not."""

from llama_index.embeddings.o1.base import O1Embedding, QueryEmbedding

__all__ = ["O1Embedding", "QueryEmbedding"]
