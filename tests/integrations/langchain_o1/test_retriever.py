"""O1Retriever over stores of every kind: ranking, scores, filters, fusion, metadata, bad input. Sync and async."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from langchain_o1 import LexicalRetriever, O1Embeddings, O1Retriever, VectorStoreError
from langchain_o1.rankings import fuse
from langchain_o1.searching import Found
from pydantic import ValidationError

from o1_retriever import O1Embedder, RecordedThoughts
from o1_retriever.errors import InvalidInputError, InvalidTypeError, ThinkerError

QUERY = "Who wrote the first program?"
Make = Callable[..., Any]


def both(retriever: O1Retriever, query: Any = QUERY, **arguments: Any) -> list[Document]:
    """What `invoke` finds, and `ainvoke` as well."""
    found = retriever.invoke(query, **arguments)
    again = asyncio.run(retriever.ainvoke(query, **arguments))
    assert [(d.id, d.page_content) for d in again] == [(d.id, d.page_content) for d in found]
    assert [d.metadata.get("o1_score") for d in again] == pytest.approx([d.metadata.get("o1_score") for d in found])
    assert [d.metadata.get("o1_thoughts") for d in again] == [d.metadata.get("o1_thoughts") for d in found]
    return found


class BareStore(VectorStore):
    """A store with the least that searching by a vector needs: no scores, no ids, no async methods."""

    def __init__(self, embeddings: O1Embeddings, texts: list[str]) -> None:
        self.texts, self.vectors = texts, np.array(embeddings.embed_documents(texts))
        self.asked: list[dict[str, Any]] = []

    @classmethod
    def from_texts(cls, *args: Any, **kwargs: Any) -> BareStore:
        raise NotImplementedError

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        raise AssertionError("the retriever searches by vectors")

    def similarity_search_by_vector(self, embedding: list[float], k: int = 4, **kwargs: Any) -> list[Document]:
        self.asked.append({"k": k, **kwargs})
        best = np.argsort(-(self.vectors @ np.array(embedding)))[:k]
        return [Document(self.texts[index]) for index in best]


def test_it_finds_what_exact_search_finds(store: InMemoryVectorStore, tiny: O1Embedder, texts: list[str]) -> None:
    found = both(O1Retriever(vectorstore=store, k=3))
    query = tiny.encode_query([QUERY], return_thoughts=True)
    scores = tiny.encode_document(texts) @ query.vectors[0]
    best = np.argsort(-scores)[:3]
    assert [document.id for document in found] == [str(index) for index in best]
    assert [document.metadata["o1_score"] for document in found] == pytest.approx(scores[best].tolist(), abs=1e-5)
    assert [document.metadata["o1_thoughts"] for document in found] == [query.thoughts[0]] * 3
    assert [document.metadata["word"] for document in found] == [texts[index].split()[0] for index in best]
    assert "o1_degraded" not in found[0].metadata


def test_k_in_constructor_and_call(store: InMemoryVectorStore) -> None:
    assert len(both(O1Retriever(vectorstore=store))) == 4
    retriever = O1Retriever(vectorstore=store, k=2)
    assert len(both(retriever)) == 2
    assert len(both(retriever, k=5)) == 5
    assert len(both(retriever, k=100)) == 5


def test_num_thoughts_in_constructor_and_call(store: InMemoryVectorStore, embeddings: O1Embeddings) -> None:
    thoughts = embeddings.think(QUERY)
    retriever = O1Retriever(vectorstore=store, num_thoughts=2)
    assert both(retriever)[0].metadata["o1_thoughts"] == thoughts[:2]
    assert both(retriever, num_thoughts=1)[0].metadata["o1_thoughts"] == thoughts[:1]
    assert both(retriever, num_thoughts=0)[0].metadata["o1_thoughts"] == []


def test_filters_and_search_kwargs(store: InMemoryVectorStore) -> None:
    def word(wanted: str) -> Callable[[Document], bool]:
        return lambda document: document.metadata["word"] == wanted

    retriever = O1Retriever(vectorstore=store, filter=word("Tea"))
    assert [document.id for document in both(retriever)] == ["3"]
    assert [document.id for document in both(retriever, filter=word("Bees"))] == ["1"]
    assert [document.id for document in both(O1Retriever(vectorstore=store), filter=word("Ada"))] == ["0"]
    retriever = O1Retriever(vectorstore=store, search_kwargs={"filter": word("A")})
    assert [document.id for document in both(retriever)] == ["4"]
    assert [document.id for document in both(retriever, search_kwargs={"filter": word("The")})] == ["2"]


def test_documents_of_the_store_stay_as_they_are(store: InMemoryVectorStore) -> None:
    before = {key: dict(row["metadata"]) for key, row in store.store.items()}
    O1Retriever(vectorstore=store).invoke(QUERY)[0].metadata["o1_thoughts"].append("mine")
    assert {key: row["metadata"] for key, row in store.store.items()} == before
    plain = O1Retriever(vectorstore=store, annotate=False).invoke(QUERY)
    assert all(set(document.metadata) == {"word"} for document in plain)


def test_a_store_without_scores_and_ids(embeddings: O1Embeddings, texts: list[str], tiny: O1Embedder) -> None:
    store = BareStore(embeddings, [*texts, texts[0]])
    found = both(O1Retriever(vectorstore=store, embeddings=embeddings, k=6), search_kwargs={"odd": 1})
    assert len(found) == 6
    assert "o1_score" not in found[0].metadata
    assert store.asked == [{"k": 6, "odd": 1}] * 2
    fused = both(O1Retriever(vectorstore=store, embeddings=embeddings, k=6, fusion="reciprocal_rank", fetch_k=7))
    assert {document.page_content for document in fused} == set(texts)  # equal texts count as one
    assert store.asked[2:] == [{"k": 7}] * 8


def test_fusion_by_hand(store: InMemoryVectorStore, tiny: O1Embedder, texts: list[str]) -> None:
    """1 / (60 + rank), summed over the pooled vector's ranking and those of three thoughts."""
    passages = tiny.encode_document(texts)
    query = tiny.encode_query([QUERY], return_thoughts=True)
    scores = np.zeros(len(texts))
    for vector in (query.vectors[0], *query.thought_vectors[0]):
        for rank, index in enumerate(np.argsort(-(passages @ vector)), start=1):
            scores[index] += 1 / (60 + rank)
    found = both(O1Retriever(vectorstore=store, k=3, fusion="reciprocal_rank"))
    fused = [document.metadata["o1_score"] for document in found]
    assert fused == pytest.approx(sorted(scores, reverse=True)[:3])
    assert fused == pytest.approx([scores[int(document.id or "")] for document in found])


def test_fusion_brings_up_what_only_thoughts_find(tiny_folder: str, texts: list[str]) -> None:
    """Ranks of each list are 1 to 5, so the fused score of a document lies between 4/65 and 4/61."""
    thoughts = RecordedThoughts({QUERY: texts[:3]})
    store = InMemoryVectorStore(O1Embeddings(model_name=tiny_folder, thinker=thoughts))
    store.add_texts(texts)
    fused = both(O1Retriever(vectorstore=store, k=5, fusion="reciprocal_rank"))
    assert all(4 / 65 <= document.metadata["o1_score"] <= 4 / 61 for document in fused)
    single = both(O1Retriever(vectorstore=store, k=5, fusion="reciprocal_rank", num_thoughts=1))
    pooled = both(O1Retriever(vectorstore=store, k=5, num_thoughts=1))
    assert single == pooled  # one thought's vector is the pooled one: there is nothing to fuse


def test_documents_are_told_apart_by_ids_or_else_by_texts() -> None:
    def ranking(*rows: tuple[str, str | None]) -> list[Found]:
        return [Found(Document(text, id=name), None) for text, name in rows]

    fused = fuse([ranking(("same", "1"), ("same", "2")), ranking(("same", "2"))], [1.0, 2.0])
    assert [(found.document.id, found.score) for found in fused] == [("2", 1 / 62 + 2 / 61), ("1", 1 / 61)]
    fused = fuse([ranking(("same", "1"), ("other", "2")), ranking(("same", None), ("same", None))], [1.0, 1.0])
    assert [(found.document.page_content, found.score) for found in fused] == [("same", 2 / 61), ("other", 1 / 62)]


def test_words_find_what_vectors_blur(store: InMemoryVectorStore, texts: list[str]) -> None:
    """Both sides by hand: "pendulum" is in text 4 alone, so the lexical side has that one, first."""
    lexical = LexicalRetriever(documents=[Document(text, id=str(i)) for i, text in enumerate(texts)])
    query = "the pendulum"
    dense = [document.id for document in O1Retriever(vectorstore=store, k=5).invoke(query)]
    scores = {name: 1 / (60 + rank) for rank, name in enumerate(dense, start=1)}
    scores["4"] += 2.0 / 61
    found = both(O1Retriever(vectorstore=store, lexical=lexical, lexical_weight=2.0, k=5), query)
    assert found[0].id == "4"
    assert {document.id: document.metadata["o1_score"] for document in found} == pytest.approx(scores)
    fused = both(O1Retriever(vectorstore=store, lexical=lexical, k=1, fusion="reciprocal_rank"), query)
    assert len(fused) == 1
    assert len(both(O1Retriever(vectorstore=store, lexical=lexical, k=5), "xyz")) == 5
    with pytest.raises(InvalidInputError, match="filter reaches the vector store alone"):
        O1Retriever(vectorstore=store, lexical=lexical).invoke(query, filter=lambda document: True)


def test_words_are_searched_as_deep_as_vectors(embeddings: O1Embeddings) -> None:
    """Seventy texts share the word; whatever the lexical retriever finds by itself, fetch_k decides here."""
    documents = [Document(f"a pendulum {number}", id=str(number)) for number in range(70)]
    store = InMemoryVectorStore(embeddings)
    store.add_documents(documents)
    for own in (50, 3):
        lexical = LexicalRetriever(documents=documents, k=own)
        found = both(O1Retriever(vectorstore=store, lexical=lexical, k=70, fetch_k=70), "pendulum")
        assert len(found) == 70
        assert all(document.metadata["o1_score"] >= 2 / 130 for document in found), "each is in both rankings"
        few = both(O1Retriever(vectorstore=store, lexical=lexical, k=1, fetch_k=1), "pendulum")
        assert len(few) == 1
        assert len(lexical.invoke("pendulum")) == own


def test_other_retrievers_find_as_many_as_they_were_made_for(store: InMemoryVectorStore) -> None:
    class Fixed(BaseRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
            return [Document("x", id="x"), Document("y", id="y")]

    found = both(O1Retriever(vectorstore=store, lexical=Fixed(), k=9, fetch_k=60))
    assert {"x", "y"} <= {document.id for document in found}
    found = both(O1Retriever(vectorstore=store, lexical=Fixed(), k=1, fetch_k=1, lexical_weight=9.0))
    assert [document.id for document in found] == ["x"]


def test_the_lexical_retriever_by_itself(texts: list[str]) -> None:
    lexical = LexicalRetriever(documents=[Document(text) for text in texts])
    assert [found.page_content for found in lexical.invoke("pendulum tea")] in (
        [texts[3], texts[4]],
        [texts[4], texts[3]],
    )
    assert len(lexical.invoke("pendulum tea", k=1)) == 1
    assert lexical.invoke("xyz") == []
    assert LexicalRetriever(documents=[]).invoke("pendulum") == []


async def test_words_alone_sync_and_async() -> None:
    documents = [Document(f"a pendulum {number}") for number in range(3)]
    lexical = LexicalRetriever(documents=documents)
    assert len(lexical.invoke("pendulum")) == 3
    assert await lexical.ainvoke("pendulum", k=2) == lexical.invoke("pendulum", k=2)
    lexical.documents.append(Document("a zebra"))
    assert [found.page_content for found in await lexical.ainvoke("zebra")] == ["a zebra"]
    assert pickle.loads(pickle.dumps(lexical)).invoke("tea") == lexical.invoke("tea")
    with pytest.raises(InvalidInputError, match="query 0 is empty"):
        lexical.invoke(" ")
    with pytest.raises(InvalidInputError, match="k must be at least 1"):
        lexical.invoke("tea", k=0)


def test_embeddings_come_from_the_store_or_are_named(store: InMemoryVectorStore, embeddings: O1Embeddings) -> None:
    fake = InMemoryVectorStore(DeterministicFakeEmbedding(size=32))
    with pytest.raises(ValidationError, match="pass embeddings=O1Embeddings"):
        O1Retriever(vectorstore=fake)
    assert O1Retriever(vectorstore=fake, embeddings=embeddings).invoke(QUERY) == []
    fewer = embeddings.model_copy(update={"num_thoughts": 1})
    assert len(O1Retriever(vectorstore=store, embeddings=fewer).invoke(QUERY)[0].metadata["o1_thoughts"]) == 1


def test_the_retrievers_thinker_wins(tiny_folder: str, store: InMemoryVectorStore, chat_model: Make) -> None:
    model = chat_model()
    other = O1Embeddings(model_name=tiny_folder, thinker=RecordedThoughts({}))
    retriever = O1Retriever(vectorstore=store, embeddings=other, thinker=model)
    for _ in range(2):
        assert both(retriever)[0].metadata["o1_thoughts"][0].startswith(f"<{QUERY}>")
    assert len(model.seen) == 4 * 3
    assert other.thinker is not None and not hasattr(other.thinker, "model")
    with pytest.raises(ThinkerError, match="0 thoughts are recorded"):
        O1Retriever(vectorstore=store, embeddings=other).invoke(QUERY)
    with pytest.raises(InvalidTypeError, match="thinker must be None"):
        O1Retriever(vectorstore=store, thinker="gpt-5")


def test_a_thinker_that_is_away_shows(store: InMemoryVectorStore, chat_model: Make) -> None:
    late = [TimeoutError("late"), TimeoutError("late again")]
    retriever = O1Retriever(vectorstore=store, thinker=chat_model(errors=late), num_thoughts=1)
    alone = O1Retriever(vectorstore=store, num_thoughts=0).invoke(QUERY)
    found = both(retriever)
    assert [document.id for document in found] == [document.id for document in alone]
    assert all(document.metadata["o1_degraded"] is True for document in found)
    assert all(document.metadata["o1_thoughts"] == [] for document in found)
    assert "o1_degraded" not in both(retriever)[0].metadata


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"k": 0}, "k"),
        ({"num_thoughts": -1}, "num_thoughts"),
        ({"fusion": "sum"}, "fusion"),
        ({"fetch_k": 0}, "fetch_k"),
        ({"num_thougths": 3}, "num_thougths"),
        ({"vectorstore": "chroma"}, "vectorstore"),
        ({"embeddings": "o1"}, "embeddings"),
    ],
)
def test_wrong_arguments(store: InMemoryVectorStore, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        O1Retriever(**{"vectorstore": store, **arguments})


def test_wrong_arguments_of_a_call(store: InMemoryVectorStore) -> None:
    retriever = O1Retriever(vectorstore=store)
    for call in (retriever.invoke, lambda *args, **kwargs: asyncio.run(retriever.ainvoke(*args, **kwargs))):
        with pytest.raises(InvalidInputError, match="k must be at least 1"):
            call(QUERY, k=0)
        with pytest.raises(InvalidTypeError, match="k must be an int"):
            call(QUERY, k="3")
        with pytest.raises(InvalidInputError, match="num_thoughts must be at least 0"):
            call(QUERY, num_thoughts=-1)
        with pytest.raises(TypeError, match="num_thougths"):
            call(QUERY, num_thougths=3)
        for empty in ("", " \n"):
            with pytest.raises(InvalidInputError, match="query 0 is empty"):
                call(empty)
        with pytest.raises(InvalidTypeError, match="a query must be a str"):
            call(None)


def test_an_empty_store(embeddings: O1Embeddings) -> None:
    for fusion in (None, "reciprocal_rank"):
        assert both(O1Retriever(vectorstore=InMemoryVectorStore(embeddings), fusion=fusion)) == []


def test_vectors_of_another_dimension(embeddings: O1Embeddings, texts: list[str]) -> None:
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=6))
    store.add_texts(texts)
    retriever = O1Retriever(vectorstore=store, embeddings=embeddings)
    for call in (retriever.invoke, lambda query: asyncio.run(retriever.ainvoke(query))):
        with pytest.raises(VectorStoreError, match=r"InMemoryVectorStore did not answer .* dimension 32") as caught:
            call(QUERY)
        assert caught.value.__cause__ is not None


def test_a_retriever_pickles_with_its_store(store: InMemoryVectorStore) -> None:
    retriever = O1Retriever(vectorstore=store, k=2)
    assert pickle.loads(pickle.dumps(retriever)).invoke(QUERY) == retriever.invoke(QUERY)


def test_batches(store: InMemoryVectorStore, texts: list[str]) -> None:
    retriever = O1Retriever(vectorstore=store, k=1)
    alone = [[document.id for document in retriever.invoke(text)] for text in texts]
    assert [[document.id for document in row] for row in retriever.batch(texts)] == alone
    found = asyncio.run(retriever.abatch(texts))
    assert [[document.id for document in row] for row in found] == alone
