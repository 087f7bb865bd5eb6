"""Opens Chroma: clients, and collections with our settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import chromadb
from chromadb import Collection
from chromadb.api import ClientAPI
from chromadb.api.client import Client
from chromadb.api.collection_configuration import CreateHNSWConfiguration
from chromadb.api.shared_system_client import SharedSystemClient
from chromadb.api.types import EmbeddingFunction
from chromadb.config import Settings
from chromadb.errors import NotFoundError

from chroma_o1.errors import StoreError, StoreNotFoundError, explain
from chroma_o1.stamping import FINGERPRINT_KEY, Embedder, check_unless_empty, stamp

HNSW: CreateHNSWConfiguration = {
    "space": "cosine",
    "max_neighbors": 16,
    "ef_construction": 128,
    "ef_search": 256,
    "sync_threshold": 2000,
}
"""How new collections are indexed.

`max_neighbors` (M), `ef_construction` and `ef_search` keep recall@10 against exact search at 0.99 or more on tens of
thousands of passages. `sync_threshold`: rows between two saves of the index, which is also how many rows at most a
process adds to it when it opens the store.
"""


def open_embedded(folder: Path) -> Client:
    """A client on a folder; makes the folder if it does not exist.

    Raises:
        StoreError: this process has another client with other settings on the folder.
    """
    client = None
    try:
        client = chromadb.PersistentClient(path=str(folder), settings=Settings(anonymized_telemetry=False))
    except ValueError as error:
        raise StoreError(explain(str(folder), str(error), folder)) from error
    finally:
        if client is None:
            _forget_failed_start(str(folder))
    return cast(Client, client)


def _forget_failed_start(folder: str) -> None:
    """Chroma keeps one system per folder in a process, and would hand out one that failed to start again."""
    if folder not in SharedSystemClient._identifier_to_refcount:
        SharedSystemClient._identifier_to_system.pop(folder, None)


def open_server(host: str, port: int, ssl: bool, headers: dict[str, str] | None) -> Client:
    """A client of a Chroma server.

    Raises:
        StoreError: no Chroma server answers there.
    """
    settings = Settings(anonymized_telemetry=False)
    try:
        client = chromadb.HttpClient(host=host, port=port, ssl=ssl, headers=headers, settings=settings)
    except ValueError as error:
        raise StoreError(explain(f"{host}:{port}", str(error).rstrip("."))) from error
    return cast(Client, client)


def open_collection(
    client: ClientAPI,
    name: str,
    embedder: Embedder,
    create: bool = True,
    embedding_function: EmbeddingFunction[Any] | None = None,
) -> Collection:
    """The collection of that name, checked; with `create`, a new one where there is none.

    Args:
        client: of any kind.
        name: of the collection.
        embedder: whose vectors it must hold.
        create: make it if need be; several clients of a server may do so at once.
        embedding_function: what embeds texts that the collection is given; None: nothing does.

    Raises:
        StoreNotFoundError: there is none and `create` is off.
        StoreError: it measures other than cosine distance.
        FingerprintMismatchError: it holds vectors of another model.
    """
    try:
        collection = client.get_collection(name, embedding_function=embedding_function)
    except NotFoundError as error:
        if not create:
            known = ", ".join(sorted(c.name for c in client.list_collections())) or "none"
            raise StoreNotFoundError(f"There is no collection {name!r} in the store; it has: {known}.") from error
        collection = client.get_or_create_collection(
            name,
            embedding_function=embedding_function,
            configuration={"hnsw": HNSW.copy()},
            metadata={FINGERPRINT_KEY: embedder.passage_fingerprint},
        )
    _check_space(collection)
    if not check_unless_empty(collection, embedder):
        stamp(collection, embedder)
    return collection


def _check_space(collection: Collection) -> None:
    space = (collection.configuration_json.get("hnsw") or {}).get("space")
    if space != "cosine":
        raise StoreError(
            f"Collection {collection.name!r} measures {space!r} distance, and scores here are cosine similarities: "
            "index again into another collection."
        )
