"""Language models of LlamaIndex as thinkers: prompts, calls side by side, failures, what they cost."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import openai
import pytest
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse
from llama_index.core.llms import MockLLM
from llama_index.embeddings.o1 import LlamaIndexThinker, O1Embedding
from llama_index.embeddings.o1.llm_streams import without_reasoning

from o1_retriever.errors import InvalidInputError, InvalidTypeError, ThinkerError, TransientThinkerError
from o1_retriever.llm_config import LLMConfig
from o1_retriever.llm_thinker import LLMThinker
from o1_retriever.tasks import TASKS, Task
from o1_retriever.thinkers import Thinker
from o1_retriever.usage import Usage

Make = Callable[..., O1Embedding]
TASK = Task("test", "Say it.", angles=("One way.", "Two ways."))
QUERY = "Why do bees dance?"


@pytest.fixture
def endpoint(chat_server: Any, scripted: Any) -> Callable[..., Any]:
    """`endpoint(api_key, timeout_s, **behaviour)`: a model behind a real server, and that server."""

    class EndpointLLM(scripted):  # type: ignore[misc]
        url: str
        api_key: str = "none"
        timeout_s: float = 10.0

        def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
            with openai.OpenAI(
                base_url=self.url, api_key=self.api_key, timeout=self.timeout_s, max_retries=0
            ) as client:
                reply = client.chat.completions.create(**self.request(messages, kwargs))
            return self.response(reply)

        async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
            async with openai.AsyncOpenAI(
                base_url=self.url, api_key=self.api_key, timeout=self.timeout_s, max_retries=0
            ) as client:
                reply = await client.chat.completions.create(**self.request(messages, kwargs))
            return self.response(reply)

        def request(self, messages: Sequence[ChatMessage], arguments: dict[str, Any]) -> dict[str, Any]:
            rows = [{"role": message.role.value, "content": message.content} for message in messages]
            return {"model": "expert", "messages": rows, **arguments}

        def response(self, reply: Any) -> ChatResponse:
            text = reply.choices[0].message.content
            return ChatResponse(message=ChatMessage(role="assistant", content=text), raw=reply)

    def connect(api_key: str = "none", timeout_s: float = 10.0, **behaviour: Any) -> tuple[Any, Any]:
        server = chat_server(numbered=False, **behaviour)
        return EndpointLLM(url=server.url, api_key=api_key, timeout_s=timeout_s), server

    return connect


def test_it_is_a_thinker(scripted: Any) -> None:
    assert isinstance(LlamaIndexThinker(scripted()), Thinker)


def test_the_prompts_are_those_of_the_experts(scripted: Any) -> None:
    llm, task = scripted(), TASKS["finance"]
    LlamaIndexThinker(llm, task).think([QUERY], 4, evidence=[["Bees dance."]])
    asked = [[{"role": m.role.value, "content": m.content} for m in messages] for messages in llm.asked]
    assert asked == [task.messages(QUERY, ["Bees dance."], angle) for angle in (0, 1, 2, 3)]


def test_thoughts_stay_with_their_queries(scripted: Any) -> None:
    thoughts = LlamaIndexThinker(scripted(delay_s=0.01), TASK, concurrency=4).think(["a", "b", "c"], 3)
    assert thoughts == [[f"<{query}> {angle}" for angle in ("One", "Two", "One")] for query in "abc"]


def test_nothing_asked_costs_nothing(scripted: Any) -> None:
    llm = scripted()
    thinker = LlamaIndexThinker(llm, TASK)
    assert thinker.think([], 3) == []
    assert thinker.think(["a", "b"], 0) == [[], []]
    assert asyncio.run(thinker.athink(["a"], 0)) == [[]]
    assert (llm.asked, thinker.usage) == ([], Usage())


def test_calls_run_side_by_side_up_to_the_limit(scripted: Any, async_llm: Any) -> None:
    in_threads, in_loop = scripted(delay_s=0.2), async_llm(delay_s=0.2)
    LlamaIndexThinker(in_threads, TASK, concurrency=3).think(["a", "b"], 3)
    asyncio.run(LlamaIndexThinker(in_loop, TASK, concurrency=3).athink(["a", "b"], 3))
    assert (in_threads.peak, in_loop.peak) == (3, 3)


def test_a_model_in_this_process_is_asked_one_by_one(scripted: Any, async_llm: Any) -> None:
    assert LlamaIndexThinker(scripted()).concurrency == 1
    assert LlamaIndexThinker(async_llm()).concurrency == 8


@pytest.mark.parametrize("kind", ["scripted", "async_llm"])
def test_async_equals_sync(kind: str, request: pytest.FixtureRequest) -> None:
    thinker = LlamaIndexThinker(request.getfixturevalue(kind)(), TASK)
    assert asyncio.run(thinker.athink(["a", "b"], 3)) == thinker.think(["a", "b"], 3)


def test_a_model_that_blocks_leaves_the_loop_free(scripted: Any) -> None:
    """Its answer waits for the loop to tick: were it called on the loop's own thread, nothing would tick."""
    ticked = threading.Event()

    class Waiting(scripted):  # type: ignore[misc]
        def begin(self, messages: Sequence[ChatMessage]) -> None:
            assert ticked.wait(20)
            super().begin(messages)

    async def ask() -> list[list[str]]:
        asyncio.get_running_loop().call_later(0.01, ticked.set)
        return await LlamaIndexThinker(Waiting(), TASK).athink(["a"], 1)

    assert asyncio.run(ask()) == [["<a> One"]]


def test_inside_a_running_loop(scripted: Any) -> None:
    async def ask() -> list[list[str]]:
        return LlamaIndexThinker(scripted(), TASK).think(["a"], 1)

    assert asyncio.run(ask()) == [["<a> One"]]


def test_cancelling_stops_what_is_in_flight(async_llm: Any) -> None:
    llm = async_llm(delay_s=30.0)

    async def ask() -> None:
        task = asyncio.ensure_future(LlamaIndexThinker(llm, TASK, concurrency=2).athink(["a"], 3))
        while len(llm.asked) < 2:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not asyncio.all_tasks() - {asyncio.current_task()}

    asyncio.run(ask())
    assert len(llm.asked) == 2


@pytest.mark.parametrize("kind", ["scripted", "async_llm"])
def test_a_deadline_for_all_thoughts(kind: str, request: pytest.FixtureRequest) -> None:
    llm = request.getfixturevalue(kind)(delay_s=1.0)
    thinker = LlamaIndexThinker(llm, TASK, timeout_s=0.05, concurrency=2)
    start = time.perf_counter()
    with pytest.raises(TransientThinkerError, match=r"within 0\.05 s.*raise timeout_s"):
        thinker.think(["a"], 2)
    assert time.perf_counter() - start < 0.9
    with pytest.raises(TransientThinkerError, match=r"within 0\.05 s"):
        asyncio.run(thinker.athink(["a"], 2))


class Moody:
    """Hears what is asked: "slow" takes long, "busy" gets no answer for now, "wrong" never one."""

    def begin(self, messages: Sequence[ChatMessage]) -> None:
        super().begin(messages)  # type: ignore[misc]
        query = messages[-1].content
        if query == "slow":
            time.sleep(1.5)
        if query == "busy":
            raise ConnectionResetError("gone")
        if query == "wrong":
            raise ValueError("no such setting")


@pytest.mark.parametrize("concurrency", [1, 2, 8])
def test_a_slow_or_failed_query_is_alone_without_thoughts(make: Make, scripted: Any, concurrency: int) -> None:
    llm = type("MoodyLLM", (Moody, scripted), {})()
    thinker = LlamaIndexThinker(llm, TASK, timeout_s=1.0, concurrency=concurrency)
    queries = ["a", "slow", "b", "busy", "c"]
    answers = thinker.think_each(queries, 1)
    assert [str(answer) for answer in answers if isinstance(answer, TransientThinkerError)] == [
        "The language model did not write the thoughts within 1 s: try again later, raise timeout_s, or lower "
        "num_thoughts.",
        f"{thinker.name} gave no thoughts for now (ConnectionResetError: gone). Try again later, or raise its timeout "
        "and its retries.",
    ]
    assert [answer for answer in answers if isinstance(answer, list)] == [[f"<{query}> One"] for query in "abc"]
    found = make(thinker=thinker, num_thoughts=1).get_query_embeddings_with_thoughts(queries)
    assert [row.degraded for row in found] == [False, True, False, True, False]
    assert [len(row.thoughts) for row in found] == [1, 0, 1, 0, 1]
    with pytest.raises(TransientThinkerError, match="within 1 s"):
        thinker.think(queries, 1)
    with pytest.raises(ThinkerError, match="no such setting"):
        thinker.think_each(["a", "busy", "wrong"], 1)


@pytest.mark.parametrize("kind", ["scripted", "async_llm"])
def test_queries_that_wait_for_their_turn_lose_no_time(kind: str, request: pytest.FixtureRequest) -> None:
    """Six calls of 0.3 s one after the other: no query has more than 1.5 s of its own, all together take longer."""
    llm = request.getfixturevalue(kind)(delay_s=0.3)
    thinker = LlamaIndexThinker(llm, TASK, timeout_s=1.5, concurrency=1)
    assert len(thinker.think(list("abcdef"), 1)) == 6
    assert len(asyncio.run(thinker.athink(list("abcdef"), 1))) == 6


@pytest.mark.parametrize("answer", ["", "  ", "<think>Hm, bees ..."])
def test_an_answer_without_a_text(scripted: Any, answer: str) -> None:
    thinker = LlamaIndexThinker(scripted(answer=answer), TASK)
    with pytest.raises(ThinkerError, match="wrote 0 of 2 thoughts for 'a'"):
        thinker.think(["a"], 2)
    assert thinker.usage == Usage(requests=2, refused=2)


def test_reasoning_is_no_thought(scripted: Any) -> None:
    thinker = LlamaIndexThinker(scripted(answer="<think>Hm.</think> Bees dance. "), TASK)
    assert thinker.think(["a"], 1) == [["Bees dance."]]


@pytest.mark.parametrize("bad", [None, "", "  ", "\ud800"])
def test_queries_that_cannot_be_asked(scripted: Any, bad: Any) -> None:
    llm = scripted()
    with pytest.raises((InvalidInputError, InvalidTypeError), match="query 1"):
        LlamaIndexThinker(llm).think(["a", bad], 1)
    with pytest.raises((InvalidInputError, InvalidTypeError), match="query 1"):
        asyncio.run(LlamaIndexThinker(llm).athink(["a", bad], 1))
    assert llm.asked == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"llm": "gpt-4"}, "language model of LlamaIndex"),
        ({"concurrency": 0}, "concurrency must be at least 1"),
        ({"timeout_s": 0.0}, "timeout_s must lie between"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises((InvalidInputError, InvalidTypeError), match=message):
        LlamaIndexThinker(**{"llm": MockLLM(), **settings})
    with pytest.raises(InvalidInputError, match="one list of passages per query: 1, got 2"):
        LlamaIndexThinker(MockLLM()).think(["a"], 1, evidence=[[], []])


def test_the_fingerprint_follows_what_decides_the_thoughts(scripted: Any, async_llm: Any) -> None:
    def name(llm: Any = None, task: Task = TASK, **settings: Any) -> str:
        return LlamaIndexThinker(llm or scripted(), task, **settings).fingerprint

    assert name() == name(concurrency=4, timeout_s=3.0) == name(scripted(delay_s=1.0))
    names = [name(), name(scripted(temperature=0.5)), name(task=TASKS["finance"]), name(arguments={"top_p": 0.5})]
    names += [name(MockLLM()), name(MockLLM(max_tokens=5)), name(scripted(system_prompt="Be brief."))]
    assert len(set(names)) == len(names)


def test_thinking_and_answering_share_one_model(make: Make, scripted: Any) -> None:
    llm = scripted()
    assert len(make(thinker=llm).think(QUERY)) == 3
    assert llm.complete("And so?").text == "An answer."


def test_thoughts_are_streamed_as_the_model_writes_them() -> None:
    deltas = list(LlamaIndexThinker(MockLLM(max_tokens=3), concurrency=2).stream_thoughts(QUERY, 2))
    for thought in (0, 1):
        pieces = [delta for delta in deltas if delta.thought_index == thought]
        assert [piece.text for piece in pieces] == ["text ", "text ", "text", ""]
        assert [piece.done for piece in pieces] == [False, False, False, True]
    assert list(LlamaIndexThinker(MockLLM()).stream_thoughts(QUERY, 0)) == []


def test_a_stream_that_fails_and_one_that_is_left(scripted: Any) -> None:
    class Breaking(scripted):  # type: ignore[misc]
        def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Iterator[CompletionResponse]:
            yield CompletionResponse(text="Bees", delta="Bees")
            raise ConnectionResetError("gone")

    thinker = LlamaIndexThinker(Breaking(), TASK)
    stream = thinker.stream_thoughts(QUERY, 1)
    assert next(stream).text == "Bees"
    with pytest.raises(TransientThinkerError, match="gone"):
        next(stream)
    left = thinker.stream_thoughts(QUERY, 3)
    next(left)
    left.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["<thi", "nk>Hm.</th", "ink> Bees", " dance."], "Bees dance."),
        ([" ", "Bees", " dance."], "Bees dance."),
        (["<", "3 bees"], "<3 bees"),
        (["<think>Hm, bees ..."], ""),
        (["<think>Hm.</think>", " ", "Bees."], " Bees."),
        ([], ""),
    ],
)
def test_reasoning_is_not_streamed(pieces: list[str], text: str) -> None:
    assert "".join(without_reasoning(iter(pieces))) == text


# Against a real server.


def test_a_server_s_thoughts_and_what_they_cost(make: Make, endpoint: Any, heard: Callable[[], list[Any]]) -> None:
    llm, server = endpoint()
    embedding = make(thinker=LlamaIndexThinker(llm, arguments={"temperature": 0.7}))
    found = embedding.get_query_embedding_with_thoughts(QUERY)
    assert [thought.startswith(f"<{QUERY}>") for thought in found.thoughts] == [True] * 3
    assert len(set(found.thoughts)) == 3
    assert asyncio.run(embedding.aget_query_embedding_with_thoughts(QUERY)) == found
    assert [seen.body["temperature"] for seen in server.seen] == [0.7] * 6
    cost = Usage(requests=3, prompt_tokens=30, completion_tokens=15)
    assert [event.usage for event in heard()] == [cost, cost]
    assert embedding.thinker.usage == cost + cost


def test_a_wrong_key_raises_and_stays_secret(make: Make, endpoint: Any) -> None:
    llm, _ = endpoint(api_key="sk-very-secret", key="another")
    embedding = make(thinker=llm)
    for ask in (embedding.get_query_embedding, lambda query: asyncio.run(embedding.aget_query_embedding(query))):
        with pytest.raises(ThinkerError, match=r"401.*Check its key") as raised:
            ask(QUERY)
        assert not isinstance(raised.value, TransientThinkerError)
        assert "sk-very-secret" not in str(raised.value)


def test_an_unknown_model_raises(make: Make, endpoint: Any) -> None:
    llm, _ = endpoint(models=("another",))
    with pytest.raises(ThinkerError, match="Check the model's name"):
        make(thinker=llm).get_query_embedding(QUERY)


@pytest.mark.parametrize("fault", ["429", "500", "503"])
def test_a_busy_server_degrades(make: Make, endpoint: Any, fault: str) -> None:
    llm, server = endpoint(faults=[fault] * 6)
    embedding = make(thinker=llm)
    assert embedding.get_query_embedding_with_thoughts(QUERY).degraded
    server.behaviour.faults = [fault] * 3
    assert asyncio.run(embedding.aget_query_embedding_with_thoughts(QUERY)).degraded
    server.behaviour.faults = []
    assert not embedding.get_query_embedding_with_thoughts(QUERY).degraded


def test_a_server_that_times_out_or_is_dead_degrades(make: Make, endpoint: Any) -> None:
    llm, server = endpoint(timeout_s=0.1, faults=["slow"] * 6, slow_s=1.0)
    embedding = make(thinker=llm)
    assert embedding.get_query_embedding_with_thoughts(QUERY).degraded
    assert asyncio.run(embedding.aget_query_embedding_with_thoughts(QUERY)).degraded
    server.wait_until_idle()
    dead = llm.model_copy(update={"url": "http://127.0.0.1:9/v1"})
    assert make(thinker=dead).get_query_embedding_with_thoughts(QUERY).degraded


def test_an_endpoint_of_the_engine_thinks_and_is_metered(
    make: Make, chat_server: Any, heard: Callable[[], list[Any]]
) -> None:
    config = LLMConfig(chat_server(numbered=False).url, "expert", prompt_price=1e6, completion_price=2e6)
    with LLMThinker(config) as thinker:
        embedding = make(thinker=thinker)
        found = embedding.get_query_embedding_with_thoughts(QUERY)
        assert asyncio.run(embedding.aget_query_embedding_with_thoughts(QUERY)) == found
    cost = Usage(requests=3, prompt_tokens=30, completion_tokens=15, cost=60.0)
    assert [event.usage for event in heard()] == [cost, cost]


def test_several_queries_together_cost_what_they_cost(
    make: Make, endpoint: Any, heard: Callable[[], list[Any]]
) -> None:
    llm, _ = endpoint()
    make(thinker=llm, num_thoughts=1).get_query_embeddings_with_thoughts(["a", "b"])
    assert [event.query for event in heard()] == ["a", "b"]
    assert [event.usage for event in heard()] == [Usage(requests=2, prompt_tokens=20, completion_tokens=10), None]
