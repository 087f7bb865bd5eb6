"""The checkpoint `o1-embedder-22m`, as a package of data: o1-retriever finds it by its entry point."""

from pathlib import Path

__all__ = ["__version__", "checkpoint_path"]

__version__ = "0.1.0"


def checkpoint_path() -> Path:
    """The folder that holds the weights, the tokenizer and `o1_config.json`."""
    return Path(__file__).resolve().parent / "checkpoint"
