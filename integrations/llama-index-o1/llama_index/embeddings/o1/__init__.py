"""O1 Embedder as a LlamaIndex embedding model: the query side thinks, the text side does not."""

from llama_index.embeddings.o1.base import O1Embedding
from llama_index.embeddings.o1.events import O1QueryEvent
from llama_index.embeddings.o1.llm_thinker import LlamaIndexThinker
from llama_index.embeddings.o1.query_side import QueryEmbedding

__all__ = ["LlamaIndexThinker", "O1Embedding", "O1QueryEvent", "QueryEmbedding"]
