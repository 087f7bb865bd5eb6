"""What goes into a store and what comes out: passages, their ids, hits. Knows nothing of Chroma."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from o1_retriever.errors import InvalidInputError, InvalidTypeError
from o1_retriever.prompts import check_encodable

Scalar = str | int | float | bool
TITLE = "title"
_INT64 = 1 << 63


@dataclass(frozen=True)
class Passage:
    """A text to be found.

    Attributes:
        text: what is embedded behind the title, and given back.
        title: embedded before the text, joined by a space; may be empty.
        metadata: kept beside the passage; values are texts, numbers or truth values. By habit `source_id` holds the
            id that the passage has where it comes from (the `_id` of BEIR), `source` the file.
    """

    text: str
    title: str = ""
    metadata: Mapping[str, Scalar] = field(default_factory=dict)

    @property
    def full_text(self) -> str:
        """What is embedded: title and text joined by a space."""
        return f"{self.title} {self.text}".strip()

    @property
    def id(self) -> str:
        """SHA-256 of title and text, as 64 hexadecimal digits: the same content has the same id wherever it is from."""
        title = self.title.encode()
        return hashlib.sha256(b"%d:%b%b" % (len(title), title, self.text.encode())).hexdigest()


@dataclass(frozen=True)
class StoredPassage:
    """A passage as the store holds it; `id` is the hash of its content."""

    id: str
    text: str
    title: str
    metadata: Mapping[str, Scalar]


@dataclass(frozen=True)
class Hit(StoredPassage):
    """A passage found; `score` says how well it fits: higher is better.

    In a dense search it is the cosine similarity to the query, at most 1; in a lexical one the BM25 score, above 0; in
    a hybrid one what the fusion of both gives (see `Ranking`).
    """

    score: float


@dataclass(frozen=True)
class AddReport:
    """What became of the passages given to `add`.

    Attributes:
        added: embedded and stored.
        present: already there, or given twice.
        empty: skipped because there was nothing to embed.
    """

    added: int = 0
    present: int = 0
    empty: int = 0


def check_passage(passage: Passage, position: int) -> Passage:
    """Returns the passage, or says why it cannot be stored.

    Args:
        passage: any object a caller took for a passage.
        position: its number in the input, from 0, for the message.

    Raises:
        InvalidTypeError: it is no `Passage`, or a text or a metadata value is of the wrong type.
        InvalidInputError: lone surrogates, the reserved metadata key "title", numbers that a store cannot hold.
    """
    if not isinstance(passage, Passage):
        raise InvalidTypeError(f"passage {position} is {type(passage).__name__}: pass chroma_o1.Passage objects.")
    for name, text in (("text", passage.text), (TITLE, passage.title)):
        if not isinstance(text, str):
            raise InvalidTypeError(f"passage {position}: its {name} is {type(text).__name__}, not a string.")
        check_encodable(text, f"passage {position}: its {name}")
    for key, value in passage.metadata.items():
        _check_metadata(key, value, f"passage {position}: metadata {key!r}")
    return passage


def check_update(passage_id: object, metadata: object) -> dict[str, Scalar | None]:
    """Returns new metadata of a stored passage, or says why it cannot be stored.

    Raises:
        InvalidTypeError: the id is no text, or `metadata` no mapping of texts to texts, numbers, truth values or None.
        InvalidInputError: there is nothing in it, a reserved key, or a number that a store cannot hold.
    """
    if not isinstance(passage_id, str) or not isinstance(metadata, Mapping):
        raise InvalidTypeError(
            f"update takes {{id: {{key: value}}}}, got {passage_id!r:.80} -> {type(metadata).__name__}."
        )
    if not metadata:
        raise InvalidInputError(f"There is no metadata to update passage {passage_id} with.")
    for key, value in metadata.items():
        label = f"passage {passage_id}: metadata {key!r}"
        _check_metadata(key, "" if value is None else value, label)
    return dict(metadata)


def _check_metadata(key: object, value: object, label: str) -> None:
    if not isinstance(key, str) or not isinstance(value, (str, int, float, bool)):
        raise InvalidTypeError(f"{label} is {type(value).__name__}: use texts as keys, and texts, numbers or bools.")
    if key == TITLE or not key or key.startswith("chroma:"):
        raise InvalidInputError(f"{label}: the key is reserved; a title goes into Passage(title=...), and is for good.")
    check_encodable(key, label)
    if isinstance(value, str):
        check_encodable(value, label)
    elif (isinstance(value, float) and not math.isfinite(value)) or not -_INT64 <= value < _INT64:
        raise InvalidInputError(f"{label} is {value}: a store holds finite numbers of 64 bits; keep it as a text.")
