"""O1Embedding inside of LlamaIndex: indexing, querying, caches, async, pickling. With a tiny random checkpoint."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.ingestion import IngestionCache, IngestionPipeline
from llama_index.core.ingestion.pipeline import get_transformation_hash
from llama_index.core.schema import TextNode
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.embeddings.o1 import O1Embedding, base
from pydantic import ValidationError

from o1_retriever import O1Embedder, shared_models
from o1_retriever.errors import CheckpointError, InvalidInputError, InvalidTypeError

TEXTS = [
    "Ada Lovelace wrote the first program.",
    "Bees dance to show where flowers are.",
    "The Danube flows into the Black Sea. " * 5,
    "Tea was traded along the silk road.",
    "A pendulum keeps time.",
]


@pytest.fixture
def embedding(tiny_folder: str) -> O1Embedding:
    return O1Embedding(model_name=tiny_folder)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Sizes of the batches of texts that reach the engine."""
    sizes: list[int] = []
    plain = O1Embedder.encode_document

    def count(self: O1Embedder, texts: list[str], **kwargs: Any) -> Any:
        sizes.append(len(texts))
        return plain(self, texts, **kwargs)

    monkeypatch.setattr(O1Embedder, "encode_document", count)
    yield sizes


def test_index_and_query(embedding: O1Embedding) -> None:
    documents = [Document(text=text) for text in TEXTS]
    index = VectorStoreIndex.from_documents(documents, embed_model=embedding)
    found = index.as_retriever(similarity_top_k=3).retrieve("Who wrote the first program?")
    scores = np.array(embedding.embedder.encode_document([t.strip() for t in TEXTS])) @ np.array(
        embedding.get_query_embedding("Who wrote the first program?")
    )
    best = np.argsort(-scores)[:3]
    assert [node.node.get_content() for node in found] == [TEXTS[i].strip() for i in best]
    assert [node.score for node in found] == pytest.approx(scores[best].tolist(), abs=1e-5)


def test_batched_equals_single(embedding: O1Embedding) -> None:
    batch = embedding.get_text_embedding_batch(TEXTS)
    single = [embedding.get_text_embedding(text) for text in TEXTS]
    np.testing.assert_allclose(batch, single, atol=1e-5)


def test_texts_reach_the_engine_together(embedding: O1Embedding, counted: list[int]) -> None:
    embedding.get_text_embedding_batch([f"text {number}" for number in range(300)])
    assert counted == [256, 44]


def test_vectors_are_unit_lists_of_floats(embedding: O1Embedding) -> None:
    vectors = [*embedding.get_text_embedding_batch(TEXTS), embedding.get_query_embedding("What do bees do?")]
    assert all(type(vector) is list and type(vector[0]) is float for vector in vectors)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_ten_thousand_texts(embedding: O1Embedding) -> None:
    texts = [f"text {number}" for number in range(10_000)]
    vectors = embedding.get_text_embedding_batch(texts)
    assert len(vectors) == 10_000
    np.testing.assert_allclose(vectors[9_876], embedding.get_text_embedding("text 9876"), atol=1e-5)


def test_thoughts_change_the_query_only(tiny_folder: str, embedding: O1Embedding) -> None:
    alone = O1Embedding(model_name=tiny_folder, num_thoughts=0)
    query = "Why do bees dance?"
    assert not np.allclose(embedding.get_query_embedding(query), alone.get_query_embedding(query), atol=1e-3)
    assert embedding.get_text_embedding(query) == alone.get_text_embedding(query)
    assert alone.think(query) == []


def test_thoughts_come_with_the_vector(embedding: O1Embedding) -> None:
    result = embedding.get_query_embedding_with_thoughts("Why do bees dance?")
    assert len(result.thoughts) == 3
    assert result.thoughts == embedding.think("Why do bees dance?")
    assert result.embedding == embedding.get_query_embedding("Why do bees dance?")
    assert asyncio.run(embedding.aget_query_embedding_with_thoughts("Why do bees dance?")) == result


def test_several_queries_think_as_one_by_one(embedding: O1Embedding) -> None:
    queries = ["Why do bees dance?", "Where does the Danube end?"]
    together = embedding.get_query_embeddings_with_thoughts(queries)
    for query, row in zip(queries, together, strict=True):
        single = embedding.get_query_embedding_with_thoughts(query)
        assert (row.query, row.thoughts) == (query, single.thoughts)
        np.testing.assert_allclose(row.embedding, single.embedding, atol=1e-4)


def test_thinking_settings_reach_the_engine(tiny_folder: str) -> None:
    embedding = O1Embedding(model_name=tiny_folder, num_thoughts=2, seed=5, max_new_tokens=4, top_k=7)
    settings = embedding._thinking()
    assert (settings.num_thoughts, settings.seed, settings.max_new_tokens, settings.top_k) == (2, 5, 4, 7)
    assert settings.temperature == embedding.embedder.config.thinking.temperature
    assert len(embedding.think("Why?")) == 2


def test_mean_of_queries_has_unit_length(embedding: O1Embedding) -> None:
    queries = ["Why do bees dance?", "Where does the Danube end?"]
    vector = embedding.get_agg_embedding_from_queries(queries)
    assert np.linalg.norm(vector) == pytest.approx(1.0)
    assert asyncio.run(embedding.aget_agg_embedding_from_queries(queries)) == pytest.approx(vector, abs=1e-5)


def test_framework_fields_still_work(tiny_folder: str, counted: list[int]) -> None:
    embedding = O1Embedding(model_name=tiny_folder, embed_batch_size=2, num_workers=2)
    embedding.get_text_embedding_batch(TEXTS)
    assert counted == [2, 2, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_thougts": 3}, "num_thougts"),
        ({"num_thoughts": -1}, "num_thoughts must be at least 0"),
        ({"top_p": 0.0}, "top_p must be above 0"),
        ({"thought_cache": 3}, "thought_cache"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str, embedding: O1Embedding) -> None:
    with pytest.raises(ValidationError, match=message):
        O1Embedding(**arguments)
    name, value = next(iter(arguments.items()))
    with pytest.raises(ValueError, match=name):
        setattr(embedding, name, value)
    assert getattr(embedding, name, None) is None


def test_nothing_is_loaded_before_it_is_used() -> None:
    embedding = O1Embedding(model_name="./no-such-folder")
    with pytest.raises(CheckpointError, match="no-such-folder"):
        embedding.get_text_embedding("hello")


@pytest.mark.parametrize("text", ["", " \n "])
def test_empty_text_is_named(embedding: O1Embedding, text: str) -> None:
    nodes = [TextNode(text="Bees dance."), TextNode(text=text)]
    with pytest.raises(InvalidInputError, match=r"Text 2 of 2 .*'Bees dance.'"):
        embedding(nodes)


def test_an_index_leaves_empty_documents_out(embedding: O1Embedding) -> None:
    index = VectorStoreIndex.from_documents([Document(text="Bees dance."), Document(text="")], embed_model=embedding)
    assert len(index.as_retriever(similarity_top_k=2).retrieve("Why?")) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda embedding: embedding.get_query_embedding(None), "query 0 is NoneType"),
        (lambda embedding: embedding.get_query_embedding(["Why?"]), "query 0 is list"),
        (lambda embedding: embedding.get_query_embedding_with_thoughts(3), "query 0 is int"),
        (lambda embedding: embedding.get_query_embeddings_with_thoughts("Why?"), "queries must be a list of texts"),
        (lambda embedding: embedding.get_agg_embedding_from_queries(None), "queries must be a list of texts"),
        (lambda embedding: embedding.get_text_embedding(None), "Text 1 of 1 .* is NoneType"),
        (lambda embedding: embedding.get_text_embedding_batch(None), "texts must be a list of texts, got NoneType"),
        (lambda embedding: embedding.get_text_embedding_batch("abc"), "texts must be a list of texts, got str: 'abc'"),
        (lambda embedding: embedding.get_text_embedding_batch(["a", 3]), "Text 2 of 2 .* is int"),
        (lambda embedding: asyncio.run(embedding.aget_query_embedding(None)), "query 0 is NoneType"),
        (lambda embedding: asyncio.run(embedding.aget_text_embedding_batch("abc")), "texts must be a list of texts"),
        (lambda embedding: asyncio.run(embedding.aget_text_embedding(None)), "Text 1 of 1 .* is NoneType"),
        (lambda embedding: asyncio.run(embedding.aget_agg_embedding_from_queries("a")), "queries must be a list"),
    ],
)
def test_wrong_types(embedding: O1Embedding, call: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(InvalidTypeError, match=message):
        call(embedding)


def test_empty_query(embedding: O1Embedding) -> None:
    with pytest.raises(InvalidInputError, match="empty"):
        embedding.get_query_embedding(" ")


def test_no_texts_are_no_vectors(embedding: O1Embedding) -> None:
    assert embedding.get_text_embedding_batch([]) == []
    assert asyncio.run(embedding.aget_text_embedding_batch([])) == []


def test_dict_round_trip(tiny_folder: str) -> None:
    embedding = O1Embedding(model_name=tiny_folder, num_thoughts=2, seed=7)
    data = embedding.to_dict()
    again = O1Embedding.from_dict(data)
    assert data["passage_fingerprint"] == embedding.embedder.passage_fingerprint
    assert again.to_dict() == data
    assert again.get_query_embedding("Why?") == embedding.get_query_embedding("Why?")
    assert O1Embedding.from_json(embedding.to_json()).to_dict() == data


def test_pickle_round_trip(tiny_folder: str) -> None:
    embedding = O1Embedding(model_name=tiny_folder, num_thoughts=2, embeddings_cache=SimpleKVStore())
    vector = embedding.get_query_embedding("Why?")
    pickled = pickle.dumps(embedding)
    again = pickle.loads(pickled)
    assert len(pickled) < 10_000
    assert again.num_thoughts == 2 and again.embeddings_cache is None
    assert again.get_query_embedding("Why?") == vector


def test_ingestion_hash_knows_the_weights_and_not_the_query_side(
    tiny_folder: str, embedding: O1Embedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [TextNode(text="Bees dance.", id_="1")]
    plain = get_transformation_hash(nodes, embedding)
    other_query_side = O1Embedding(model_name=tiny_folder, num_thoughts=0, seed=3, device="cpu", embed_batch_size=8)
    assert get_transformation_hash(nodes, other_query_side) == plain
    monkeypatch.setattr(O1Embedder, "passage_fingerprint", "other weights")
    assert get_transformation_hash(nodes, embedding) != plain


def test_cached_ingestion_embeds_once(tiny_folder: str, embedding: O1Embedding, counted: list[int]) -> None:
    cache = IngestionCache()
    nodes = [TextNode(text=text, id_=text) for text in TEXTS]
    IngestionPipeline(transformations=[embedding], cache=cache).run(nodes=nodes)
    thinking_more = O1Embedding(model_name=tiny_folder, num_thoughts=5)
    IngestionPipeline(transformations=[thinking_more], cache=cache).run(nodes=nodes)
    assert counted == [len(TEXTS)]


def test_async_equals_sync(embedding: O1Embedding) -> None:
    async def both() -> tuple[list[float], list[list[float]], list[float]]:
        query = await embedding.aget_query_embedding("Why?")
        return query, await embedding.aget_text_embedding_batch(TEXTS), await embedding.aget_text_embedding(TEXTS[0])

    query, texts, text = asyncio.run(both())
    assert query == embedding.get_query_embedding("Why?")
    np.testing.assert_allclose(texts, embedding.get_text_embedding_batch(TEXTS), atol=1e-6)
    assert text == embedding.get_text_embedding(TEXTS[0])


def test_async_leaves_the_event_loop_free(embedding: O1Embedding, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine waits for the loop to tick: were it called on the loop's own thread, nothing would tick."""
    ticked = threading.Event()
    for name in ("encode_query", "encode_document"):
        plain = getattr(O1Embedder, name)
        monkeypatch.setattr(O1Embedder, name, lambda *a, _plain=plain, **k: ticked.wait(20) and _plain(*a, **k))

    async def tick() -> None:
        await asyncio.sleep(0.05)
        ticked.set()

    async def ask() -> None:
        for call in (
            embedding.aget_query_embedding("Why?"),
            embedding.aget_text_embedding("Bees dance."),
            embedding.aget_text_embedding_batch(TEXTS),
            embedding.aget_query_embedding_with_thoughts("Why?"),
        ):
            ticked.clear()
            await asyncio.gather(call, tick())

    asyncio.run(ask())


def test_one_model_per_process(tiny_folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_models, "_models", {})
    loads: list[str] = []
    plain = O1Embedder.from_pretrained

    def load(name: str, **kwargs: Any) -> O1Embedder:
        loads.append(name)
        return plain(name, **kwargs)

    monkeypatch.setattr(O1Embedder, "from_pretrained", load)
    embeddings = [O1Embedding(model_name=tiny_folder, num_thoughts=number) for number in range(4)]
    assert loads == []
    threads = [threading.Thread(target=embedding.get_text_embedding, args=("hello",)) for embedding in embeddings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == [tiny_folder]
    assert embeddings[0].embedder is embeddings[3].embedder
    assert O1Embedding(model_name=tiny_folder, dtype="float16", device="cpu").embedder is not embeddings[0].embedder


def test_a_relative_folder_follows_the_working_directory(
    tiny_folder: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").symlink_to(tiny_folder)
    monkeypatch.chdir(tmp_path)
    O1Embedding(model_name="./model").get_text_embedding("hello")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError):
        O1Embedding(model_name="./model").get_text_embedding("hello")


def test_unit_mean_of_nothing() -> None:
    with pytest.raises(InvalidInputError, match="at least one"):
        base.unit_mean([])
    with pytest.raises(InvalidInputError, match="cancel out"):
        base.unit_mean([[1.0], [-1.0]])


def test_follows_the_convention_of_embeddings() -> None:
    assert "BaseEmbedding" in [parent.__name__ for parent in O1Embedding.__mro__]
    assert O1Embedding.class_name() == "O1Embedding"
