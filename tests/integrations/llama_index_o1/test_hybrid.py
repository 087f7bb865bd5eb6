"""Hybrid search: words beside vectors, in LexicalRetriever and in O1Retriever."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core import QueryBundle, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeRelationship, NodeWithScore, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters
from llama_index.embeddings.o1 import O1Embedding
from llama_index.retrievers.o1 import THOUGHTS, LexicalRetriever, O1QueryBundle, O1Retriever, VectorStoreError

from o1_retriever.errors import InvalidInputError, InvalidTypeError

pytest.importorskip("bm25s")

QUERY = "Which vaccine did Jenner make?"
ONLY_TEA = MetadataFilters(filters=[MetadataFilter(key="number", value=3)])


class Fixed(BaseRetriever):
    """Finds these nodes, whatever is asked; has no async method of its own."""

    def __init__(self, nodes: list[Any]) -> None:
        super().__init__()
        self.nodes, self.asked = nodes, list[QueryBundle]()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        self.asked.append(query_bundle)
        return [NodeWithScore(node=node, score=9.0) for node in self.nodes]


@pytest.fixture
def nodes(index: VectorStoreIndex) -> list[Any]:
    return sorted(index.docstore.docs.values(), key=lambda node: node.node_id)


def test_words_find_what_shares_them(nodes: list[Any]) -> None:
    retriever = LexicalRetriever(nodes)
    found = retriever.retrieve(QUERY)
    assert [result.node_id for result in found] == ["n5"]
    assert [(row.node_id, row.score) for row in asyncio.run(retriever.aretrieve(QUERY))] == [("n5", found[0].score)]
    assert retriever.retrieve("xylophone") == []
    assert LexicalRetriever([]).retrieve(QUERY) == []


def test_words_heed_filters_and_numbers(nodes: list[Any]) -> None:
    retriever = LexicalRetriever(nodes)
    bundle = O1QueryBundle("number flowers silk Danube", similarity_top_k=2)
    assert len(retriever.retrieve(bundle)) == 2
    bundle = O1QueryBundle("flowers silk Danube", similarity_top_k=1, filters=ONLY_TEA)
    assert [result.node_id for result in retriever.retrieve(bundle)] == ["n3"]


def test_bad_input_for_words(nodes: list[Any]) -> None:
    with pytest.raises(InvalidInputError, match="query 0 is empty"):
        LexicalRetriever(nodes).retrieve(" ")
    with pytest.raises(InvalidInputError, match="similarity_top_k must be at least 1"):
        LexicalRetriever(nodes, similarity_top_k=0)
    with pytest.raises(InvalidTypeError, match="nodes must be nodes of LlamaIndex, got str"):
        LexicalRetriever(["Bees dance."])  # type: ignore[list-item]


@pytest.mark.parametrize("with_async", [False, True])
def test_both_lists_count(index: VectorStoreIndex, nodes: list[Any], with_async: bool) -> None:
    dense = [result.node_id for result in O1Retriever(index, similarity_top_k=6).retrieve(QUERY)]
    retriever = O1Retriever(
        index, similarity_top_k=6, lexical=Fixed([nodes[4], TextNode(text="x", id_="x")]), lexical_weight=0.5
    )
    found = asyncio.run(retriever.aretrieve(QUERY)) if with_async else retriever.retrieve(QUERY)
    scores = {node_id: 1 / (60 + rank) for rank, node_id in enumerate(dense, start=1)}
    scores["n4"] += 0.5 / 61
    scores["x"] = 0.5 / 62
    best = sorted(scores, key=lambda node_id: -scores[node_id])[:6]
    assert [result.node_id for result in found] == best
    assert [result.score for result in found] == pytest.approx([scores[node_id] for node_id in best])
    assert all(len(result.metadata[THOUGHTS]) == 3 for result in found)


def test_lists_are_fused_deeper_than_wanted(index: VectorStoreIndex, nodes: list[Any]) -> None:
    last = O1Retriever(index, similarity_top_k=6).retrieve(QUERY)[-1].node_id
    words = Fixed([node for node in nodes if node.node_id == last])
    (found,) = O1Retriever(index, similarity_top_k=1, lexical=words).retrieve(QUERY)
    assert (found.node_id, found.score) == (last, pytest.approx(1 / 66 + 1 / 61))  # sixth and first
    (shallow,) = O1Retriever(index, similarity_top_k=1, lexical=words, fetch_k=1).retrieve(QUERY)
    assert shallow.score == pytest.approx(1 / 61)
    assert [bundle.similarity_top_k for bundle in words.asked if isinstance(bundle, O1QueryBundle)] == [50, 1]


def test_words_cannot_get_round_filters(index: VectorStoreIndex, nodes: list[Any]) -> None:
    retriever = O1Retriever(index, similarity_top_k=6, filters=ONLY_TEA, lexical=Fixed(nodes))
    assert [result.node_id for result in retriever.retrieve(QUERY)] == ["n3"]


def test_words_cannot_get_round_documents(index: VectorStoreIndex) -> None:
    ours = TextNode(text="a", id_="a", relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id="d1")})
    others = TextNode(text="b", id_="b", relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id="d2")})
    found = O1Retriever(index, similarity_top_k=9, doc_ids=["d1"], lexical=Fixed([others, ours])).retrieve(QUERY)
    assert "a" in [result.node_id for result in found]
    assert "b" not in [result.node_id for result in found]


def in_documents(*rows: tuple[str, str, str]) -> list[TextNode]:
    """Nodes of (id, id of the document, text)."""
    return [
        TextNode(
            text=text,
            id_=name,
            metadata={"year": len(text)},
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=source)},
        )
        for name, source, text in rows
    ]


@pytest.mark.parametrize("with_async", [False, True])
def test_documents_are_chosen_before_the_best_are(embedding: O1Embedding, with_async: bool) -> None:
    """One of four nodes is of the wanted document, and the last one by words and by vectors; one node is asked for."""
    query = "bees dance bees dance"
    nodes = in_documents(*((name, "others", query) for name in "abc"), ("d", "ours", "Tea: bees."))
    index = VectorStoreIndex(nodes, embed_model=embedding)
    for wish in ({"doc_ids": ["ours"]}, {"filters": MetadataFilters(filters=[MetadataFilter(key="year", value=10)])}):
        for lexical in (None, LexicalRetriever(nodes)):
            for retriever, wishes in (
                (O1Retriever(index, similarity_top_k=1, fetch_k=1, lexical=lexical, **wish), {}),
                (O1Retriever(index, similarity_top_k=1, fetch_k=1, lexical=lexical), wish),
            ):
                found = (
                    asyncio.run(retriever.aretrieve(query, **wishes))
                    if with_async
                    else retriever.retrieve(query, **wishes)
                )
                assert [result.node_id for result in found] == ["d"]
                if lexical is not None:
                    assert found[0].score == pytest.approx(2 / 61), "both lists found it"


def test_documents_in_a_bundle(index: VectorStoreIndex) -> None:
    lexical = LexicalRetriever(in_documents(("a", "one", "bees bees"), ("b", "two", "bees")), similarity_top_k=1)
    bundle = O1QueryBundle("bees", doc_ids=["two"])
    assert [result.node_id for result in lexical.retrieve(bundle)] == ["b"]
    hybrid = O1Retriever(index, lexical=lexical)
    assert [result.node_id for result in hybrid.retrieve(bundle, num_thoughts=0)] == ["b"]
    with pytest.raises(InvalidTypeError, match="doc_ids must be a list of texts, got str"):
        O1QueryBundle("bees", doc_ids="two")  # type: ignore[arg-type]
    with pytest.raises(InvalidTypeError, match="doc_ids must be a list of texts"):
        O1Retriever(index, doc_ids=[3])  # type: ignore[list-item]


def number(value: Any, operator: str = "==") -> MetadataFilter:
    return MetadataFilter(key="number", value=value, operator=operator)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (MetadataFilters(filters=[number(1), number(2)], condition="or"), [1, 2]),  # type: ignore[arg-type]
        (MetadataFilters(filters=[number(1), number(2)], condition="not"), [0, 3, 4, 5]),  # type: ignore[arg-type]
        (MetadataFilters(filters=[]), [0, 1, 2, 3, 4, 5]),
        (
            MetadataFilters(
                filters=[
                    MetadataFilters(filters=[number(1), number(4, ">=")], condition="or"),  # type: ignore[arg-type]
                    number(5, "!="),
                ]
            ),
            [1, 4],
        ),
    ],
)
def test_filters_inside_of_filters(nodes: list[Any], filters: MetadataFilters, found: list[int]) -> None:
    lexical = LexicalRetriever(nodes)
    results = lexical.retrieve(O1QueryBundle("wrote dance Danube silk pendulum vaccine", filters=filters))
    assert sorted(result.metadata["number"] for result in results) == found


class Paid:
    """A thinker that notes what it was paid for."""

    fingerprint = "paid"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def think(self, queries: Any, num_thoughts: int, evidence: Any = None) -> list[list[str]]:
        self.asked.extend(queries)
        return [["A thought."] * num_thoughts for _ in queries]


NESTED = MetadataFilters(filters=[ONLY_TEA, ONLY_TEA])
UNFIT = MetadataFilters(filters=[number("3", ">")])


@pytest.mark.parametrize("with_async", [False, True])
def test_filters_are_tried_before_anything_is_paid_for(
    index: VectorStoreIndex, nodes: list[Any], with_async: bool
) -> None:
    paid = Paid()

    def ask(retriever: O1Retriever, filters: MetadataFilters) -> list[NodeWithScore]:
        if with_async:
            return asyncio.run(retriever.aretrieve(QUERY, filters=filters))
        return retriever.retrieve(QUERY, filters=filters)

    plain = O1Retriever(index, thinker=paid)
    hybrid = O1Retriever(index, thinker=paid, lexical=LexicalRetriever(nodes))
    for retriever in (plain, hybrid):
        with pytest.raises(VectorStoreError, match="Nested MetadataFilters are not supported"):
            ask(retriever, NESTED)
    with pytest.raises(VectorStoreError, match="not supported between"):
        ask(plain, UNFIT)
    with pytest.raises(InvalidInputError, match="'number' > '3' does not fit the metadata 5 of a node"):
        ask(hybrid, UNFIT)
    assert paid.asked == []
    assert [result.node_id for result in ask(plain, ONLY_TEA)] == ["n3"]
    assert paid.asked == [QUERY]


def test_filters_are_tried_once_for_each_shape(index: VectorStoreIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    searches: list[Any] = []
    plain = type(index.vector_store).query

    def query(self: Any, asked: Any, **arguments: Any) -> Any:
        searches.append(asked.filters)
        return plain(self, asked, **arguments)

    monkeypatch.setattr(type(index.vector_store), "query", query)
    retriever = O1Retriever(index, num_thoughts=0)
    for value, expected in ((3, 2), (4, 1), (99, 1), ("3", 2), ("4", 2)):  # of texts, the store never found anything
        searches.clear()
        retriever.retrieve(QUERY, filters=MetadataFilters(filters=[number(value)]))
        assert len(searches) == expected
    searches.clear()
    retriever.retrieve(QUERY)
    assert len(searches) == 1


def test_the_nodes_of_the_lexical_side_stay_as_they_are(index: VectorStoreIndex, nodes: list[Any]) -> None:
    O1Retriever(index, lexical=LexicalRetriever(nodes), fusion="reciprocal_rank").retrieve(QUERY)
    assert not any(THOUGHTS in node.metadata for node in nodes)
