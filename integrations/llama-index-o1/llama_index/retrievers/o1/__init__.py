"""Thinking retrieval over any LlamaIndex index, with the thoughts to be seen in what it finds."""

from llama_index.retrievers.o1.base import O1Retriever
from llama_index.retrievers.o1.errors import VectorStoreError
from llama_index.retrievers.o1.lexical import LexicalRetriever
from llama_index.retrievers.o1.query import O1QueryBundle
from llama_index.retrievers.o1.thoughtful_nodes import DEGRADED, THOUGHTS

__all__ = ["DEGRADED", "THOUGHTS", "LexicalRetriever", "O1QueryBundle", "O1Retriever", "VectorStoreError"]
