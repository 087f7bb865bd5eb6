"""Chat models as thinkers: prompts, pairing, concurrency, usage, and what each kind of failure becomes."""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import openai
import pytest
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, FakeListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableLambda
from langchain_o1 import ChatModelThinker, DegradedVector, O1Embeddings
from pydantic import SecretStr

from o1_retriever import O1Embedder, RecordedThoughts, Thinker
from o1_retriever.errors import InvalidInputError, InvalidTypeError, ThinkerError, TransientThinkerError
from o1_retriever.llm import LLMConfig
from o1_retriever.llm_thinker import LLMThinker
from o1_retriever.tasks import TASKS, Task
from o1_retriever.usage import Usage

TASK = Task("test", "Write.", angles=("one", "two"))
QUERY = "Why do bees dance?"
Make = Callable[..., Any]


class OpenAIModel(BaseChatModel):
    """A chat model as LangChain's packages make them: an HTTP client inside, whose errors come through."""

    url: str
    model: str = "expert"
    key: str = "right"
    timeout: float = 5.0

    @property
    def _llm_type(self) -> str:
        return "test-openai"

    def _generate(
        self,
        messages: list[Any],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        roles = {"system": "system", "human": "user", "ai": "assistant"}
        rows: Any = [{"role": roles[message.type], "content": message.content} for message in messages]
        with openai.OpenAI(base_url=self.url, api_key=self.key, timeout=self.timeout, max_retries=0) as client:
            reply = client.chat.completions.create(model=self.model, messages=rows)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(reply.choices[0].message.content or ""))])


def both(thinker: ChatModelThinker, *arguments: Any) -> list[list[str]]:
    """What `think` gives, and `athink` as well."""
    thoughts = thinker.think(*arguments)
    assert asyncio.run(thinker.athink(*arguments)) == thoughts
    return thoughts


def test_thoughts_take_angles_by_turns_and_find_their_query(chat_model: Make) -> None:
    thinker = ChatModelThinker(chat_model(), TASK)
    assert isinstance(thinker, Thinker)
    assert both(thinker, ["why?", "how?"], 3) == [
        ["<why?> one", "<why?> two", "<why?> one"],
        ["<how?> one", "<how?> two", "<how?> one"],
    ]


def test_it_asks_as_the_experts_are_asked(chat_model: Make) -> None:
    model, task = chat_model(), TASKS["question-answering"]
    ChatModelThinker(model).think([QUERY], 1, [["Bees tell the way."]])
    roles = {"system": "system", "human": "user", "ai": "assistant"}
    said = [{"role": roles[message.type], "content": message.content} for message in model.seen[0]]
    assert said == task.messages(QUERY, ["Bees tell the way."], 0)
    assert isinstance(model.seen[0][0], SystemMessage)


def test_nothing_to_ask(chat_model: Make) -> None:
    model = chat_model()
    assert both(ChatModelThinker(model), [], 3) == []
    assert both(ChatModelThinker(model), ["a", "b"], 0) == [[], []]
    assert model.seen == []


@pytest.mark.parametrize("asynchronous", [False, True])
def test_thoughts_are_asked_for_at_the_same_time(chat_model: Make, asynchronous: bool) -> None:
    model = chat_model(delay_s=0.1)
    thinker = ChatModelThinker(model, max_concurrency=3)
    if asynchronous:
        asyncio.run(thinker.athink(["a", "b"], 3))
    else:
        thinker.think(["a", "b"], 3)
    assert model.peak == 3


def test_usage_is_counted(chat_model: Make) -> None:
    thinker = ChatModelThinker(chat_model(), TASK, prompt_price=1e6, completion_price=2e6)
    both(thinker, ["a"], 2)
    assert thinker.usage == Usage(requests=4, prompt_tokens=40, completion_tokens=16, cost=40 + 2 * 16)
    silent = ChatModelThinker(FakeListChatModel(responses=["yes"]), TASK)
    silent.think(["a"], 1)
    assert silent.usage == Usage(requests=1)


def test_messages_of_every_form(chat_model: Make) -> None:
    blocks = [
        {"type": "reasoning", "reasoning": "Hm."},
        {"type": "text", "text": "Bees "},
        {"type": "text", "text": "dance."},
    ]
    for message in (AIMessage(blocks), AIMessage("<think>Hm.</think>\nBees dance.")):
        thinker = ChatModelThinker(chat_model(wrap=lambda text, message=message: message))
        assert thinker.think([QUERY], 1) == [["Bees dance."]]
    assert ChatModelThinker(RunnableLambda(lambda messages: "Bees dance.")).think([QUERY], 1) == [["Bees dance."]]
    with pytest.raises(ThinkerError, match="a message or a text, got int"):
        ChatModelThinker(RunnableLambda(lambda messages: 3)).think([QUERY], 1)


@pytest.mark.parametrize(
    "message",
    [
        AIMessage("  "),
        AIMessage("No.", additional_kwargs={"refusal": "I cannot help with that."}),
        AIMessage("Be", response_metadata={"finish_reason": "content_filter"}),
    ],
)
def test_refusals_are_errors(chat_model: Make, message: AIMessage) -> None:
    thinker = ChatModelThinker(chat_model(wrap=lambda text: message), TASK)
    with pytest.raises(ThinkerError, match="wrote 0 of 2 thoughts for 'Why do bees dance") as caught:
        thinker.think([QUERY], 2)
    assert not isinstance(caught.value, TransientThinkerError)
    assert thinker.usage.refused == 2


def test_a_query_that_fails_leaves_the_others_theirs(tiny_folder: str, chat_model: Make) -> None:
    """One request at a time, so that the second one, of the first query, is the one that fails."""

    def failing(*errors: Exception | None) -> ChatModelThinker:
        return ChatModelThinker(chat_model(errors=list(errors)), TASK, max_concurrency=1)

    first, second, third = (thinker := failing(None, TimeoutError("late"))).think_each(["a", "b", "c"], 2)
    assert isinstance(first, TransientThinkerError) and isinstance(first.__cause__, TimeoutError)
    assert (second, third) == (["<b> one", "<b> two"], ["<c> one", "<c> two"])
    assert thinker.usage == Usage(requests=6, prompt_tokens=50, completion_tokens=20)
    with pytest.raises(TransientThinkerError, match="late"):
        failing(TimeoutError("late")).think(["a", "b"], 1)
    with pytest.raises(ThinkerError, match="never"):
        failing(TimeoutError("late"), ValueError("never")).think_each(["a", "b"], 1)
    embeddings = O1Embeddings(model_name=tiny_folder, thinker=failing(TimeoutError("late")), num_thoughts=1)
    found = embeddings.embed_queries_with_thoughts(["a", "b"])
    assert [(row.degraded, len(row.thoughts)) for row in found] == [(True, 0), (False, 1)]
    assert [isinstance(row.embedding, DegradedVector) for row in found] == [True, False]


def test_keys_stay_secret(chat_server: Make) -> None:
    class SecretModel(OpenAIModel):
        secret: SecretStr = SecretStr("sk-very-secret")

    model = SecretModel(url=chat_server(key="other").url, key="sk-very-secret")
    for wrapped in (
        model,
        model.bind(stop=["."]),
        model.with_retry(stop_after_attempt=1),
        model.with_fallbacks([model]),
    ):
        with pytest.raises(ThinkerError, match="401") as caught:
            ChatModelThinker(wrapped).think([QUERY], 1)
        assert "***" in str(caught.value)
        assert "sk-very-secret" not in str(caught.value)


def test_fake_models_of_langchain() -> None:
    model = GenericFakeChatModel(messages=iter(["first", AIMessage("second")]))
    thinker = ChatModelThinker(model, max_concurrency=1)
    assert thinker.think([QUERY], 2) == [["first", "second"]]
    with pytest.raises(ThinkerError):  # it has no more
        thinker.think([QUERY], 1)


@pytest.mark.parametrize("bad", ["", " ", "\ud800"])
def test_bad_queries_and_evidence(chat_model: Make, bad: str) -> None:
    model = chat_model()
    thinker = ChatModelThinker(model)
    with pytest.raises(InvalidInputError, match="query 1"):
        thinker.think(["good", bad], 1)
    with pytest.raises(InvalidInputError, match="one list of passages per query: 1, got 2"):
        thinker.think(["good"], 1, [[], []])
    with pytest.raises(InvalidInputError, match="evidence of query 0"):
        thinker.think(["good"], 1, [["\ud800"]])
    assert model.seen == []


def test_bad_settings(chat_model: Make) -> None:
    for settings in ({"max_concurrency": 0}, {"prompt_price": -1.0}, {"completion_price": -1.0}):
        with pytest.raises(InvalidInputError, match=next(iter(settings))):
            ChatModelThinker(chat_model(), **settings)
    with pytest.raises(InvalidTypeError, match="chat model, got str"):
        ChatModelThinker("gpt-5")  # type: ignore[arg-type]


def test_the_fingerprint_names_model_and_task(chat_model: Make) -> None:
    def name(model: Any, task: Task = TASK, **settings: Any) -> str:
        return ChatModelThinker(model, task, **settings).fingerprint

    first = FakeListChatModel(responses=["a"])
    assert name(first) == name(FakeListChatModel(responses=["a"]))
    assert name(first, max_concurrency=2) == name(first)
    others = [
        name(FakeListChatModel(responses=["b"])),
        name(first, replace(TASK, instruction="Other.")),
        name(first.bind(stop=["."])),
        name(first, identity="mine"),
    ]
    assert len({name(first), *others}) == 5
    assert name(first, identity="mine") == name(FakeListChatModel(responses=["b"]), identity="mine")


def test_a_thinker_pickles_where_its_model_does() -> None:
    thinker = ChatModelThinker(FakeListChatModel(responses=["a"]), TASK)
    thinker.think([QUERY], 1)
    again = pickle.loads(pickle.dumps(thinker))
    assert again.usage == Usage()
    assert again.fingerprint == thinker.fingerprint
    assert again.think([QUERY], 1) == [["a"]]


@pytest.mark.parametrize(
    ("behaviour", "settings", "said"),
    [
        ({"key": "other"}, {}, "Check its key"),
        ({"models": ("other",)}, {}, "Check the model's name"),
        ({}, {"url": "/v2"}, "Check the model's name"),
        ({"refused": "bees"}, {}, "Another try would not help"),
    ],
)
def test_permanent_failures_of_a_server(
    chat_server: Make, tiny_folder: str, behaviour: dict[str, Any], settings: dict[str, Any], said: str
) -> None:
    server = chat_server(**behaviour)
    url = settings.pop("url", None)
    model = OpenAIModel(url=server.url.replace("/v1", url) if url else server.url)
    embeddings = O1Embeddings(model_name=tiny_folder, thinker=model)
    for ask in (embeddings.embed_query, lambda query: asyncio.run(embeddings.aembed_query(query))):
        with pytest.raises(ThinkerError, match=said) as caught:
            ask(QUERY)
        assert not isinstance(caught.value, TransientThinkerError)
        assert "OpenAIModel 'expert'" in str(caught.value)
        assert isinstance(caught.value.__cause__, openai.APIStatusError)


@pytest.mark.parametrize("fault", ["429", "500", "503", "slow", "closed"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_passing_failures_of_a_server_degrade_visibly(
    chat_server: Make, tiny_folder: str, fault: str, asynchronous: bool, caplog: pytest.LogCaptureFixture
) -> None:
    server = chat_server(faults=[fault] * 3, slow_s=3.0)
    embeddings = O1Embeddings(model_name=tiny_folder, thinker=OpenAIModel(url=server.url, timeout=0.3))

    def ask() -> Any:
        if asynchronous:
            return asyncio.run(embeddings.aembed_query_with_thoughts(QUERY))
        return embeddings.embed_query_with_thoughts(QUERY)

    with caplog.at_level(logging.WARNING):
        found = ask()
    assert found.degraded
    assert found.thoughts == []
    assert isinstance(found.embedding, DegradedVector)
    assert found.embedding == embeddings.embed_query_with_thoughts(QUERY, num_thoughts=0).embedding
    assert embeddings.embedder.counters["degraded"] == 1
    assert "gave no thoughts for now" in caplog.text
    server.behaviour.faults.clear()
    again = ask()
    assert not again.degraded
    assert [text.startswith(server.answer_to(QUERY)) for text in again.thoughts] == [True] * 3


def test_nobody_listens(tiny_folder: str) -> None:
    model = OpenAIModel(url="http://127.0.0.1:9/v1", timeout=2)
    assert O1Embeddings(model_name=tiny_folder, thinker=model).embed_query_with_thoughts(QUERY).degraded


def test_degraded_thoughts_never_enter_the_cache(tiny_folder: str, tmp_path: Any, chat_model: Make) -> None:
    model = chat_model(errors=[TimeoutError("late")])
    embeddings = O1Embeddings(
        model_name=tiny_folder, thinker=model, num_thoughts=1, thought_cache=str(tmp_path / "thoughts")
    )
    assert embeddings.embed_query_with_thoughts(QUERY).degraded
    second = embeddings.embed_query_with_thoughts(QUERY)
    assert (second.degraded, len(second.thoughts), second.usage.requests) == (False, 1, 1)
    third = asyncio.run(embeddings.aembed_query_with_thoughts(QUERY))
    assert (third.thoughts, third.usage.requests) == (second.thoughts, 0)
    assert len(model.seen) == 2


def test_given_thoughts_are_embedded_by_the_engine(tiny_folder: str, tiny: O1Embedder, chat_model: Make) -> None:
    for thinker in (chat_model(), RecordedThoughts({QUERY: ["a", "b", "c"]})):
        embeddings = O1Embeddings(model_name=tiny_folder, thinker=thinker)
        for found in (
            embeddings.embed_query_with_thoughts(QUERY),
            asyncio.run(embeddings.aembed_query_with_thoughts(QUERY)),
            *embeddings.embed_queries_with_thoughts([QUERY]),
        ):
            assert len(found.thoughts) == 3
            expected = tiny.encode_query(QUERY, thoughts=found.thoughts)
            assert found.embedding == pytest.approx(expected.tolist(), abs=1e-5)
    with pytest.raises(ThinkerError, match="0 thoughts are recorded"):
        embeddings.embed_query("unknown")


def test_usage_of_each_call(tiny_folder: str, chat_model: Make, chat_server: Make) -> None:
    embeddings = O1Embeddings(model_name=tiny_folder, thinker=chat_model())
    for found in (
        embeddings.embed_query_with_thoughts(QUERY),
        asyncio.run(embeddings.aembed_query_with_thoughts(QUERY)),
    ):
        assert found.usage == Usage(requests=3, prompt_tokens=30, completion_tokens=12)
    assert embeddings.embed_query_with_thoughts(QUERY, num_thoughts=0).usage == Usage()
    with LLMThinker(LLMConfig(chat_server().url, "expert")) as thinker:
        embeddings = O1Embeddings(model_name=tiny_folder, thinker=thinker)
        assert embeddings.embed_query_with_thoughts(QUERY).usage.requests == 3
        assert asyncio.run(embeddings.aembed_query_with_thoughts(QUERY)).usage.requests == 3


def test_cancelling_stops_waiting_for_the_model(tiny_folder: str, chat_model: Make) -> None:
    embeddings = O1Embeddings(model_name=tiny_folder, thinker=chat_model(delay_s=1.0))
    embeddings.embedder  # noqa: B018 - loads

    async def ask() -> None:
        await asyncio.wait_for(embeddings.aembed_query(QUERY), 0.05)

    with pytest.raises(TimeoutError):
        asyncio.run(ask())
