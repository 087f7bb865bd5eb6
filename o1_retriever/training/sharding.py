"""Settings of FSDP and DeepSpeed: those that ship, by name, or a file of one's own."""

from __future__ import annotations

import json
from pathlib import Path

from o1_retriever.errors import InvalidInputError

SHIPPED = {"fsdp": "fsdp.json", "zero2": "deepspeed_zero2.json"}
FOLDER = Path(__file__).with_name("settings")


def sharding_file(name_or_path: str | None) -> str | None:
    """The path of a JSON file of settings.

    Args:
        name_or_path: "fsdp" or "zero2" for those that ship, a path, or None.

    Raises:
        InvalidInputError: there is no such file, or it is no JSON object.
    """
    if name_or_path is None:
        return None
    path = FOLDER / SHIPPED[name_or_path] if name_or_path in SHIPPED else Path(name_or_path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"{name_or_path} is no file of sharding settings ({error}): use {', '.join(SHIPPED)} or a JSON file."
        ) from error
    if not isinstance(content, dict):
        raise InvalidInputError(f"{path} holds no JSON object of settings.")
    return str(path)
