"""O1Retriever where LangChain's users put it: chains, graphs, streams of events, traces."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, TypedDict
from uuid import UUID

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_o1 import O1Embeddings, O1Retriever
from langgraph.graph import END, START, StateGraph

QUERY = "Who wrote the first program?"
Make = Callable[..., Any]


class Listener(BaseCallbackHandler):
    """Notes custom events, and which run is whose child."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any, UUID]] = []
        self.parents: dict[str, UUID | None] = {}
        self.runs: dict[str, UUID] = {}

    def on_custom_event(self, name: str, data: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self.events.append((name, data, run_id))

    def on_retriever_start(self, serialized: Any, query: str, *, run_id: UUID, **kwargs: Any) -> None:
        self.runs["retriever"] = run_id

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.parents["chat model"] = kwargs.get("parent_run_id")
        self.runs[f"tags {kwargs.get('tags')}"] = kwargs["run_id"]


@pytest.fixture
def retriever(store: InMemoryVectorStore) -> O1Retriever:
    return O1Retriever(vectorstore=store, k=2)


def chain_of(retriever: Runnable[str, list[Document]]) -> Runnable[str, str]:
    """A question answered by a fake chat model from what the retriever found."""
    return (
        {
            "context": retriever | (lambda found: "\n".join(d.page_content for d in found)),
            "query": RunnablePassthrough(),
        }
        | ChatPromptTemplate.from_template("{context}\n\n{query}")
        | RunnableLambda(lambda prompt: prompt.to_messages()[-1].content)
    )


def test_a_chain(retriever: O1Retriever) -> None:
    found = "\n".join(document.page_content for document in retriever.invoke(QUERY))
    chain = chain_of(retriever)
    assert chain.invoke(QUERY) == f"{found}\n\n{QUERY}"
    assert asyncio.run(chain.ainvoke(QUERY)) == f"{found}\n\n{QUERY}"
    assert chain.batch([QUERY] * 3) == [f"{found}\n\n{QUERY}"] * 3
    more = chain_of(retriever.bind(k=3, num_thoughts=0))
    assert more.invoke(QUERY).count("\n") == 4


def test_the_event_tells_the_thoughts_before_the_search(retriever: O1Retriever, embeddings: O1Embeddings) -> None:
    listener = Listener()
    for invoke in (retriever.invoke, lambda *args: asyncio.run(retriever.ainvoke(*args))):
        listener.events.clear()
        invoke(QUERY, {"callbacks": [listener]})
        ((name, data, run_id),) = listener.events
        assert (name, run_id) == ("o1_thoughts", listener.runs["retriever"])
        assert (data["query"], data["thoughts"]) == (QUERY, embeddings.think(QUERY))
        assert data["degraded"] is data["cached"] is False
        assert data["seconds"] > 0
        assert data["usage"]["requests"] == 0
        assert json.loads(json.dumps(data)) == data


def test_streams_of_events_show_the_thoughts(retriever: O1Retriever, embeddings: O1Embeddings) -> None:
    async def events(runnable: Runnable[str, Any]) -> list[Any]:
        return [event async for event in runnable.astream_events(QUERY, version="v2")]

    for runnable in (retriever, chain_of(retriever)):
        found = asyncio.run(events(runnable))
        names = [event["event"] for event in found]
        (custom,) = [event for event in found if event["event"] == "on_custom_event"]
        assert custom["name"] == "o1_thoughts"
        assert custom["data"]["thoughts"] == embeddings.think(QUERY)
        assert names.index("on_retriever_start") < names.index("on_custom_event") < names.index("on_retriever_end")


def test_a_degraded_query_shows_in_the_event(store: InMemoryVectorStore, chat_model: Make) -> None:
    listener, model = Listener(), chat_model(errors=[TimeoutError("late")])
    retriever = O1Retriever(vectorstore=store, thinker=model, num_thoughts=1)
    for _ in range(2):
        retriever.invoke(QUERY, {"callbacks": [listener]})
    (_, first, _), (_, second, _) = listener.events
    assert (first["degraded"], first["thoughts"]) == (True, [])
    assert (second["degraded"], len(second["thoughts"])) == (False, 1)
    assert (second["usage"]["requests"], second["usage"]["completion_tokens"]) == (1, 4)


def test_the_thinkers_runs_are_children_of_the_retrievers(store: InMemoryVectorStore, chat_model: Make) -> None:
    retriever = O1Retriever(vectorstore=store, thinker=chat_model())
    listener = Listener()
    for invoke in (retriever.invoke, lambda *args: asyncio.run(retriever.ainvoke(*args))):
        listener.parents.clear()
        invoke(QUERY, {"callbacks": [listener]})
        assert listener.parents["chat model"] == listener.runs["retriever"]
        assert any("o1_thought" in name for name in listener.runs)


def test_thoughts_stream_while_they_are_written(store: InMemoryVectorStore) -> None:
    retriever = O1Retriever(vectorstore=store, thinker=FakeListChatModel(responses=["Ada wrote it."]), num_thoughts=1)

    async def tokens() -> list[str]:
        stream = retriever.astream_events(QUERY, version="v2", include_tags=["o1_thought"])
        return [event["data"]["chunk"].content async for event in stream if event["event"] == "on_chat_model_stream"]

    assert "".join(asyncio.run(tokens())) == "Ada wrote it."


def test_one_chat_model_thinks_and_answers(store: InMemoryVectorStore, chat_model: Make) -> None:
    model = chat_model()
    chain = chain_of(O1Retriever(vectorstore=store, thinker=model)) | model | StrOutputParser()
    assert chain.invoke(QUERY).startswith("<")
    assert len(model.seen) == 3 + 1


def test_a_node_of_a_graph(retriever: O1Retriever) -> None:
    class State(TypedDict):
        query: str
        documents: list[Document]

    def retrieve(state: State) -> dict[str, Any]:
        return {"documents": retriever.invoke(state["query"])}

    async def aretrieve(state: State) -> dict[str, Any]:
        return {"documents": await retriever.ainvoke(state["query"])}

    def graph_of(node: Any) -> Any:
        graph = StateGraph(State)
        graph.add_node("retrieve", node)
        graph.add_edge(START, "retrieve")
        graph.add_edge("retrieve", END)
        return graph.compile()

    expected = [document.id for document in retriever.invoke(QUERY)]
    found = graph_of(retrieve).invoke({"query": QUERY})
    assert [document.id for document in found["documents"]] == expected

    async def run() -> tuple[Any, list[Any]]:
        graph = graph_of(aretrieve)
        events = [event async for event in graph.astream_events({"query": QUERY}, version="v2")]
        return await graph.ainvoke({"query": QUERY}), events

    found, events = asyncio.run(run())
    assert [document.id for document in found["documents"]] == expected
    assert [event["name"] for event in events if event["event"] == "on_custom_event"] == ["o1_thoughts"]


def test_many_callers_at_once_get_what_they_get_alone(retriever: O1Retriever, texts: list[str]) -> None:
    alone = {text: [d.id for d in retriever.invoke(text)] for text in texts}

    async def ask() -> list[list[Document]]:
        return await asyncio.gather(*(retriever.ainvoke(text) for text in texts * 4))

    found = asyncio.run(ask())
    assert [[d.id for d in row] for row in found] == [alone[text] for text in texts * 4]
