"""What an `O1Embedding` looks like as a dict, and which of its settings decide the vector of a text."""

from __future__ import annotations

import dataclasses
from typing import Any

from o1_retriever import ThinkingConfig

FINGERPRINT = "passage_fingerprint"
THINKER = "thinker_fingerprint"
SAMPLING = tuple(field.name for field in dataclasses.fields(ThinkingConfig))
_QUERY_SIDE = (*SAMPLING, "aggregation", "thought_cache", THINKER)
_IRRELEVANT = (*_QUERY_SIDE, "model_name", "revision", "device", "dtype", "embed_batch_size", "num_workers")


class SerializedO1Embedding(dict[str, Any]):
    """What `O1Embedding.to_dict` returns: a dict whose `str` names only what decides the vector of a text.

    LlamaIndex's ingestion cache hashes `str(to_dict())`. Settings of the query side, the device and the batch size do
    not change a text's vector, so changing them must not embed a corpus again; other weights must, and the passage
    fingerprint sees to that. `repr` and the items are complete.
    """

    def __str__(self) -> str:
        return str({key: value for key, value in self.items() if key not in _IRRELEVANT})
