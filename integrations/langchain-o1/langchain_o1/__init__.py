"""o1-retriever with LangChain: embeddings and a retriever that think about the query before they embed it."""

from langchain_o1.chat_model_thinker import ChatModelThinker
from langchain_o1.embeddings import O1Embeddings
from langchain_o1.errors import VectorStoreError
from langchain_o1.lexical_retriever import LexicalRetriever
from langchain_o1.query_embedding import DegradedVector, QueryEmbedding
from langchain_o1.retriever import O1Retriever
from langchain_o1.vector_cache import VectorCache

__all__ = [
    "ChatModelThinker",
    "DegradedVector",
    "LexicalRetriever",
    "O1Embeddings",
    "O1Retriever",
    "QueryEmbedding",
    "VectorCache",
    "VectorStoreError",
]
