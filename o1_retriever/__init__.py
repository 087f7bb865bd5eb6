"""o1-retriever: a causal language model that thinks before it retrieves (O1 Embedder, arXiv 2502.07555)."""

from o1_retriever.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from o1_retriever.config import EncodingConfig, O1Config, ThinkingConfig
from o1_retriever.embedder import O1Embedder
from o1_retriever.errors import O1Error
from o1_retriever.query_encoding import QueryEncoding
from o1_retriever.thinkers import RecordedThoughts, Thinker

__all__ = [
    "Checkpoint",
    "EncodingConfig",
    "O1Config",
    "O1Embedder",
    "O1Error",
    "QueryEncoding",
    "RecordedThoughts",
    "Thinker",
    "ThinkingConfig",
    "load_checkpoint",
    "save_checkpoint",
]
__version__ = "0.1.0"
