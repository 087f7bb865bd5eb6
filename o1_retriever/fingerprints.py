"""Fingerprints: short names for everything that decides a vector. Knows files and hashes, nothing of models.

The passage fingerprint covers weights, tokenizer, passage template, pooling, serving length and dimension. The query
fingerprint adds how queries think. Neither holds device or dtype: moving a model must not ask for re-indexing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path

import torch

from o1_retriever.config import O1Config, ThinkingConfig
from o1_retriever.prompts import PASSAGE_TEMPLATE, QUERY_TEMPLATE

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "tokenizer.model", "added_tokens.json")


def digest(*parts: object) -> str:
    """16 hex digits of the SHA-256 of the parts' JSON."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def passage_fingerprint(weights: str, tokenizer: str, config: O1Config, dimension: int) -> str:
    """What an index stores and checks."""
    return digest(weights, tokenizer, PASSAGE_TEMPLATE, config.pooling, config.max_passage_tokens, dimension)


def query_fingerprint(passage: str, config: O1Config, thinking: ThinkingConfig, thinker: str) -> str:
    """What a cache of query vectors needs in its key.

    Sampling settings count only where there is thinking to sample.
    """
    settings = dataclasses.asdict(thinking) if thinking.num_thoughts else {"num_thoughts": 0}
    limits = (config.max_query_tokens, config.max_thought_tokens)
    return digest(
        passage, QUERY_TEMPLATE, limits, config.aggregation, settings, thinker if thinking.num_thoughts else ""
    )


def hash_files(paths: Iterable[Path]) -> str:
    """Hash of names and contents; contents of unchanged files are read once, not at every start."""
    return digest(*sorted((path.name, _hash_file(path)) for path in paths))


def hash_state(state: dict[str, torch.Tensor]) -> str:
    """Hash of weights that live in memory only."""
    total = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        total.update(f"{name}:{tuple(tensor.shape)}".encode())
        total.update(tensor.float().numpy().tobytes())
    return total.hexdigest()[:16]


def cache_file() -> Path:
    """Where file hashes are remembered."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "o1_retriever" / "hashes.json"


def _hash_file(path: Path) -> str:
    """SHA-256 of a file, remembered by path, size and time of change."""
    stat = path.stat()
    key = f"{path.resolve()}:{stat.st_size}:{stat.st_mtime_ns}"
    known = _read_cache()
    if key not in known:
        total = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                total.update(block)
        known[key] = total.hexdigest()
        _write_cache(known)
    return known[key]


def _read_cache() -> dict[str, str]:
    try:
        known = json.loads(cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # the cache only saves time: an absent or broken one is rebuilt
    return known if isinstance(known, dict) else {}


def _write_cache(known: dict[str, str]) -> None:
    path = cache_file()
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(known), encoding="utf-8")
        temporary.replace(path)
    except OSError:  # a read-only home costs time, not correctness
        with contextlib.suppress(OSError):
            temporary.unlink()
