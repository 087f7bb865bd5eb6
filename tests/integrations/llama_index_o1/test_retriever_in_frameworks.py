"""O1Retriever inside LlamaIndex: engines, chat, fusion, pipelines, post-processors, tools."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core import Settings, VectorStoreIndex
from llama_index.core.chat_engine import CondensePlusContextChatEngine, ContextChatEngine
from llama_index.core.llms import MockLLM
from llama_index.core.postprocessor import LongContextReorder, SimilarityPostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.tools import RetrieverTool
from llama_index.embeddings.o1 import O1Embedding
from llama_index.retrievers.o1 import THOUGHTS, O1QueryBundle, O1Retriever

QUERY = "Why do bees dance?"


@pytest.fixture
def retriever(index: VectorStoreIndex) -> O1Retriever:
    return O1Retriever(index, similarity_top_k=3)


@pytest.mark.parametrize("with_async", [False, True])
def test_a_query_engine(retriever: O1Retriever, embedding: O1Embedding, with_async: bool) -> None:
    engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM())
    answer = asyncio.run(engine.aquery(QUERY)) if with_async else engine.query(QUERY)
    thoughts = embedding.think(QUERY)
    assert [node.metadata[THOUGHTS] for node in answer.source_nodes] == [thoughts] * 3
    assert "number: " in str(answer)  # MockLLM repeats its prompt, metadata for language models included
    assert THOUGHTS not in str(answer)


def test_wishes_pass_through_an_engine(retriever: O1Retriever) -> None:
    engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM())
    answer = engine.query(O1QueryBundle(QUERY, num_thoughts=1, similarity_top_k=2))
    assert [len(node.metadata[THOUGHTS]) for node in answer.source_nodes] == [1, 1]


@pytest.mark.parametrize("engine", [ContextChatEngine, CondensePlusContextChatEngine])
def test_a_chat_engine(retriever: O1Retriever, engine: Any) -> None:
    chat = engine.from_defaults(retriever=retriever, llm=MockLLM())
    for answer in (chat.chat(QUERY), asyncio.run(chat.achat(QUERY))):
        assert len(answer.source_nodes) == 3
        assert len(answer.source_nodes[0].metadata[THOUGHTS]) == 3


def test_thinking_and_answering_by_one_model(index: VectorStoreIndex, scripted: Any) -> None:
    llm = scripted()
    engine = RetrieverQueryEngine.from_args(O1Retriever(index, thinker=llm, similarity_top_k=1), llm=llm)
    answer = engine.query(QUERY)
    assert answer.source_nodes[0].metadata[THOUGHTS][0] == f"<{QUERY}> Write"
    assert str(answer).startswith("<")  # the fourth call, with the passage in its prompt
    assert len(llm.asked) == 4


@pytest.mark.parametrize("mode", ["reciprocal_rerank", "relative_score", "simple"])
@pytest.mark.parametrize("use_async", [False, True])
def test_fusion_knows_a_node_again(index: VectorStoreIndex, retriever: O1Retriever, mode: Any, use_async: bool) -> None:
    """With another retriever's results: every node once, whatever was thought."""
    others = [retriever, index.as_retriever(similarity_top_k=6), O1Retriever(index, num_thoughts=1, similarity_top_k=6)]
    fusion = QueryFusionRetriever(
        others, llm=MockLLM(), mode=mode, num_queries=1, similarity_top_k=6, use_async=use_async
    )
    found = fusion.retrieve(QUERY)
    assert sorted(result.node_id for result in found) == [f"n{number}" for number in range(6)]


def test_fusion_of_several_queries(retriever: O1Retriever) -> None:
    fusion = QueryFusionRetriever([retriever], llm=MockLLM(max_tokens=4), num_queries=2, similarity_top_k=6)
    found = fusion.retrieve(QUERY)
    assert len({result.node_id for result in found}) == len(found)


def test_post_processors(index: VectorStoreIndex) -> None:
    found = O1Retriever(index, similarity_top_k=6).retrieve(QUERY)
    steps = [SimilarityPostprocessor(similarity_cutoff=found[3].score or 0.0), LongContextReorder()]
    engine = RetrieverQueryEngine.from_args(
        O1Retriever(index, similarity_top_k=6), llm=MockLLM(), node_postprocessors=steps
    )
    kept = engine.query(QUERY).source_nodes
    assert {node.node_id for node in kept} == {node.node_id for node in found[:4]}
    assert [len(node.metadata[THOUGHTS]) for node in kept] == [3] * 4


def test_a_tool(retriever: O1Retriever) -> None:
    tool = RetrieverTool.from_defaults(retriever, description="an encyclopedia")
    output = tool.call(QUERY)
    assert "number" in str(output)
    assert THOUGHTS not in str(output)


def test_global_settings_are_left_alone(index: VectorStoreIndex, embedding: O1Embedding) -> None:
    before = (Settings._embed_model, Settings._llm)
    O1Retriever(index, embedding=embedding, num_thoughts=1).retrieve(QUERY)
    assert (Settings._embed_model, Settings._llm) == before
