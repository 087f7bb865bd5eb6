"""The client against a real server: retries, limits, refusals, errors, counting."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import logging
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from o1_retriever.errors import (
    InvalidInputError,
    InvalidTypeError,
    O1Error,
    ThinkerError,
    TransientThinkerError,
)
from o1_retriever.llm import ChatClient, LLMConfig, Usage
from o1_retriever.llm_failures import Failure, retry_after, status_failure
from o1_retriever.llm_replies import Reply, clean, parse_reply

PROMPT = [{"role": "system", "content": "Write.\n\nplainly"}, {"role": "user", "content": "Why do bees dance?"}]
QUICK = {"backoff_s": 0.001, "attempts": 3}
Connect = Callable[..., ChatClient]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """`connect(server, **settings)` gives a client that is closed at the end."""
    with ExitStack() as stack:
        yield lambda server, **settings: stack.enter_context(
            ChatClient(LLMConfig(**{"base_url": server.url, "model": "expert", **QUICK, **settings}))
        )


def prompt(query: str) -> list[dict[str, str]]:
    return [PROMPT[0], {"role": "user", "content": query}]


# What is sent and what comes back


def test_one_answer_and_what_it_costs(chat_server: Any, connect: Connect) -> None:
    server = chat_server()
    client = connect(server, prompt_price=1e5, completion_price=2e5)
    samples = client.complete(PROMPT)
    assert samples.texts == [f"{server.answer_to('Why do bees dance?')} plainly (0.0)"]
    assert samples.usage == Usage(requests=1, prompt_tokens=10, completion_tokens=5, cost=2.0)
    client.complete(PROMPT)
    assert client.usage == samples.usage + samples.usage
    assert client.usage.cost == 4.0


def test_settings_are_sent(chat_server: Any, connect: Connect) -> None:
    server = chat_server()
    settings = {"temperature": 0.3, "top_p": 0.8, "max_tokens": 7, "seed": 5}
    connect(server, **settings).complete(PROMPT, 2)
    assert server.seen[0].body == {"model": "expert", "messages": PROMPT, "n": 2, **settings}
    connect(server, temperature=None, top_p=None, max_tokens_parameter="max_completion_tokens").complete(PROMPT)
    assert server.seen[1].body == {"model": "expert", "messages": PROMPT, "max_completion_tokens": 256}


def test_the_key_comes_from_the_named_variable(
    chat_server: Any, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = chat_server(key="sesame")
    monkeypatch.setenv("EXPERT_KEY", " sesame\n")
    assert len(connect(server, api_key_variable="EXPERT_KEY").complete(PROMPT).texts) == 1
    monkeypatch.delenv("EXPERT_KEY")
    with pytest.raises(ThinkerError):
        connect(server, api_key_variable="EXPERT_KEY").complete(PROMPT)
    assert [seen.authorization for seen in server.seen] == ["Bearer sesame", "Bearer none"]


# Several answers


def test_several_answers_in_one_request(chat_server: Any, connect: Connect) -> None:
    server = chat_server()
    samples = connect(server, samples_per_request=4).complete(PROMPT, 6)
    assert sorted(seen.body["n"] for seen in server.seen) == [2, 4]
    assert len(set(samples.texts)) == 6


@pytest.mark.parametrize(("behaviour", "wasted"), [({"refuse_n": True}, 1), ({"most_choices": 1}, 0)])
def test_a_server_that_gives_one_answer_at_a_time(
    chat_server: Any, connect: Connect, behaviour: dict[str, Any], wasted: int
) -> None:
    server = chat_server(**behaviour)
    client = connect(server, seed=7)
    samples = client.complete(PROMPT, 4)
    assert len({text for text in samples.texts if text}) == 4
    assert samples.usage.requests == 4 + wasted
    assert samples.usage.refused == samples.usage.retries == 0
    assert sorted(seen.body["seed"] for seen in server.seen[wasted:]) == [7, 8, 9, 10]
    assert client.complete(PROMPT, 3).usage.requests == 3  # it is remembered


def test_a_server_that_gives_fewer_answers(chat_server: Any, connect: Connect) -> None:
    server = chat_server(most_choices=2)
    client = connect(server)
    assert len(set(client.complete(PROMPT, 5).texts)) == 5
    assert server.seen[0].body["n"] == 5
    server.seen.clear()
    client.complete(PROMPT, 5)
    assert sorted(seen.body.get("n", 1) for seen in server.seen) == [1, 2, 2]


def test_a_refused_prompt_says_nothing_about_n(chat_server: Any, connect: Connect) -> None:
    server = chat_server(refused="bomb")
    client = connect(server)
    assert client.complete(prompt("a bomb"), 3).texts == [None] * 3
    server.seen.clear()
    client.complete(PROMPT, 3)
    assert [seen.body["n"] for seen in server.seen] == [3]


# Refusals


@pytest.mark.parametrize("way", ["refused", "filtered", "declined"])
def test_a_refusal_is_no_text_and_is_counted(
    chat_server: Any, connect: Connect, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    server = chat_server(**{way: "bomb"})
    client = connect(server)
    samples = client.complete(prompt("how to build a bomb"))
    assert samples.texts == [None]
    assert samples.usage.requests == 1
    assert samples.usage.refused == 1
    assert client.complete(PROMPT).texts[0]
    assert ("The prompt was flagged" in caplog.text) == (way == "refused")


# Failures that pass


@pytest.mark.parametrize("fault", ["429", "500", "503", "408", "truncated", "closed", "empty"])
def test_a_passing_failure_is_tried_again(chat_server: Any, connect: Connect, fault: str) -> None:
    server = chat_server(faults=[fault, fault])
    samples = connect(server).complete(PROMPT)
    assert samples.texts[0].startswith(server.answer_to("Why do bees dance?"))
    assert samples.usage.requests == 3
    assert samples.usage.retries == 2
    assert [seen.outcome for seen in server.seen] == [fault, fault, "answered"]


@pytest.mark.parametrize("fault", ["429", "500", "truncated", "closed", "empty"])
def test_a_failure_that_stays(chat_server: Any, connect: Connect, fault: str) -> None:
    server = chat_server(faults=[fault] * 9)
    client = connect(server)
    with pytest.raises(TransientThinkerError, match=r"127\.0\.0\.1.* after 3 attempts; the last one: .+"):
        client.complete(PROMPT)
    assert client.usage == Usage(requests=3, retries=2)


def test_a_slow_server(chat_server: Any, connect: Connect) -> None:
    server = chat_server(faults=["slow", "ok"], slow_s=30)
    client = connect(server, timeout_s=0.3)
    start = time.monotonic()
    assert client.complete(PROMPT).usage.retries == 1
    assert time.monotonic() - start < 5
    server.behaviour.faults = ["slow"] * 3
    with pytest.raises(TransientThinkerError, match=r"no answer within 0\.3 s"):
        client.complete(PROMPT)


def test_nobody_listens(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    config = LLMConfig(f"http://127.0.0.1:{port}/v1", "expert", attempts=2, backoff_s=0.001)
    with ChatClient(config) as client, pytest.raises(TransientThinkerError, match="the connection failed"):
        client.complete(PROMPT)


def test_retry_after_is_honoured(chat_server: Any, connect: Connect) -> None:
    server = chat_server(faults=["429"], retry_after="0.4")
    connect(server).complete(PROMPT)
    assert server.seen[1].time_in - server.seen[0].time_out >= 0.39


def test_a_pause_that_is_too_long_fails_at_once(chat_server: Any, connect: Connect) -> None:
    server = chat_server(faults=["429"], retry_after="3600")
    with pytest.raises(TransientThinkerError, match=r"asks to wait for 3600 s.*max_wait_s"):
        connect(server).complete(PROMPT)
    assert len(server.seen) == 1


def test_pauses_double_with_jitter_and_end_at_the_limit() -> None:
    failure = Failure("passing", "busy", wait_s=0.0)
    with ChatClient(LLMConfig("http://localhost/v1", "expert", backoff_s=1.0, max_wait_s=5.0)) as client:
        for attempt, (least, most) in enumerate([(0.5, 1.5), (1.0, 3.0), (2.0, 5.0), (4.0, 5.0), (5.0, 5.0)], start=1):
            pauses = [client._pause(attempt, failure) for _ in range(200)]
            assert least <= min(pauses) <= max(pauses) <= most
            assert len(set(pauses)) > 1 or least == most
        assert client._pause(1, dataclasses.replace(failure, wait_s=4.5)) == 4.5


def test_global_generators_are_not_touched(chat_server: Any, connect: Connect) -> None:
    state = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    connect(chat_server(faults=["500"])).complete(PROMPT)
    assert state == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


# Failures that stay


def test_a_wrong_key(
    chat_server: Any, connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("EXPERT_KEY", "open-sesame-please")
    server = chat_server(key="another")
    with pytest.raises(ThinkerError, match=r"does not accept the key: .*EXPERT_KEY \(401: Incorrect API") as caught:
        connect(server, api_key_variable="EXPERT_KEY").complete(PROMPT)
    assert not isinstance(caught.value, TransientThinkerError)
    assert len(server.seen) == 1
    assert "open-sesame-please" in server.seen[0].authorization  # the server said it back in its message
    assert caught.value.__context__ is None
    assert "open-sesame-please" not in f"{caught.value}{caplog.text}"


def test_an_unknown_model(chat_server: Any, connect: Connect) -> None:
    server = chat_server()
    with pytest.raises(ThinkerError, match=r"/v1 knows no model 'gnome'.*base_url.*\(404: The model gnome does not"):
        connect(server, model="gnome").complete(PROMPT, 3)
    assert len(server.seen) == 1


def test_a_wrong_path(chat_server: Any, connect: Connect) -> None:
    with pytest.raises(ThinkerError, match=r"usually ends in /v1 \(404: .*Not Found"):
        connect(chat_server(), base_url=chat_server().url.removesuffix("/v1")).complete(PROMPT)


def test_a_setting_that_the_server_does_not_take(chat_server: Any, connect: Connect) -> None:
    server = chat_server(no_setting="max_tokens")
    with pytest.raises(ThinkerError, match=r"does not accept a setting for 'expert': .*LLMConfig \(400: Unsupp"):
        connect(server).complete(PROMPT)
    assert connect(server, max_tokens_parameter="max_completion_tokens").complete(PROMPT).texts[0]


def test_no_credit_is_no_reason_to_wait() -> None:
    config = LLMConfig("http://127.0.0.1/v1", "expert")
    body = {"message": "You exceeded your quota", "code": "insufficient_quota"}
    failure = status_failure(429, body, {"retry-after": "20"}, config, "none")
    assert (failure.kind, failure.wait_s) == ("permanent", 0.0)
    assert "no credit left (429: You exceeded" in failure.message
    assert status_failure(429, {**body, "code": None}, {"retry-after": "20"}, config, "none").wait_s == 20


@pytest.mark.parametrize(
    ("status", "kind"), [(402, "permanent"), (403, "permanent"), (405, "permanent"), (413, "refused"), (529, "passing")]
)
def test_other_statuses(status: int, kind: str) -> None:
    config = LLMConfig("http://127.0.0.1/v1", "expert")
    for body in (None, "text", {"error": "word"}, {"error": {"message": 5}}, {"message": None}, ["list"]):
        assert status_failure(status, body, {}, config, "secret").kind == kind


def test_openai_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(O1Error, match=r"pip install 'o1-retriever\[synthesis\]'"):
        ChatClient(LLMConfig("http://127.0.0.1/v1", "expert"))


def test_importing_the_library_leaves_openai_alone() -> None:
    code = "import sys, o1_retriever, o1_retriever.llm_thinker; sys.exit('openai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# Side by side


def test_the_number_of_requests_in_flight_is_bounded(chat_server: Any, connect: Connect) -> None:
    server = chat_server(delay_s=0.05)
    client = connect(server, concurrency=3, samples_per_request=1)
    threads = [threading.Thread(target=client.complete, args=(PROMPT, 6)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.seen) == 18
    assert server.peak == 3


def test_inside_a_running_loop(chat_server: Any, connect: Connect) -> None:
    client = connect(chat_server())

    async def ask() -> int:
        return len(client.complete(PROMPT, 2).texts)

    assert asyncio.run(ask()) == 2


def test_the_first_error_stops_the_others(chat_server: Any, connect: Connect) -> None:
    server = chat_server(faults=["slow", "slow", "403"], slow_s=30)
    client = connect(server, samples_per_request=1, concurrency=3)
    with pytest.raises(ThinkerError, match="denies access"):
        client.complete(PROMPT, 3)
    server.wait_until_idle()
    assert sorted(seen.outcome for seen in server.seen) == ["403", "abandoned", "abandoned"]


def test_a_closed_client(chat_server: Any, connect: Connect) -> None:
    server = chat_server()
    client = connect(server)
    client.complete(PROMPT)
    client.close()
    client.close()
    with pytest.raises(O1Error, match="is closed: make a new one"):
        client.complete(PROMPT)


def test_closing_stops_what_is_in_flight(chat_server: Any, connect: Connect) -> None:
    server = chat_server(faults=["slow"], slow_s=30)
    client = connect(server)
    future = client.submit(client.sample(PROMPT))
    while not server.in_flight:
        time.sleep(0.01)
    client.close()
    assert future.cancelled()


def test_a_forgotten_client_ends_its_thread(chat_server: Any) -> None:
    before = set(threading.enumerate())
    client = ChatClient(LLMConfig(chat_server().url, "expert"))
    client.complete(PROMPT)
    (thread,) = (t for t in set(threading.enumerate()) - before if t.name == "the client of expert")
    del client
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()


def test_a_fork_does_not_wait_for_a_thread_it_does_not_have(chat_server: Any, connect: Connect) -> None:
    client = connect(chat_server())
    client.complete(PROMPT)
    real = os.getpid()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "getpid", lambda: real + 1)
        with pytest.raises(O1Error, match="before this process was forked"):
            client.complete(PROMPT)
    assert client.complete(PROMPT).texts[0]


def test_the_server_as_a_process(tmp_path: Path) -> None:
    """Other tests kill what talks to it and read its log afterwards."""
    log, script = tmp_path / "seen.jsonl", Path(__file__).parents[1] / "chat_server.py"
    command = [sys.executable, str(script), "--log", str(log), "--scatter", "1", "--scattered", "500"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            with ChatClient(LLMConfig(process.stdout.readline().strip(), "expert", backoff_s=0.001)) as client:
                assert client.complete(PROMPT, 2).usage.retries == 1
        finally:
            process.kill()
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [(row["event"], row["outcome"]) for row in rows] == [
        ("request", ""),
        ("reply", "500"),
        ("request", ""),
        ("reply", "answered"),
    ]
    assert {(row["query"], row["angle"], row["n"]) for row in rows} == {("Why do bees dance?", "plainly", 2)}


# The pieces


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base_url": "localhost:8000"}, "base_url must be like"),
        ({"base_url": "http://[::1"}, "base_url must be like"),
        ({"base_url": "http://me:word@localhost/v1"}, "base_url must not hold a password"),
        ({"model": " "}, "model must be a name"),
        ({"api_key_variable": None}, "api_key_variable must be a name"),
        ({"temperature": -1.0}, "temperature must lie between"),
        ({"top_p": 0.0}, "top_p must be above 0"),
        ({"max_tokens": 0}, "max_tokens must be at least 1"),
        ({"max_tokens_parameter": "most"}, "max_tokens_parameter must be one of"),
        ({"samples_per_request": 0}, "samples_per_request must be at least 1"),
        ({"concurrency": 0}, "concurrency must be at least 1"),
        ({"concurrency": 1001}, "concurrency must be at most 1000"),
        ({"timeout_s": 0}, "timeout_s must lie between"),
        ({"timeout_s": float("nan")}, "timeout_s must lie between"),
        ({"attempts": 0}, "attempts must be at least 1"),
        ({"attempts": 1.5}, "attempts must be an int"),
        ({"backoff_s": -1}, "backoff_s must lie between"),
        ({"max_wait_s": -1}, "max_wait_s must lie between"),
        ({"prompt_price": -1}, "prompt_price must lie between"),
        ({"completion_price": "free"}, "completion_price must be a number"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_settings_out_of_range(change: dict[str, Any], message: str) -> None:
    with pytest.raises((InvalidInputError, InvalidTypeError), match=message):
        dataclasses.replace(LLMConfig("http://localhost/v1", "expert"), **change)


def test_a_key_that_cannot_be_sent_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPERT_KEY", "sk-„quoted“")
    with pytest.raises(ThinkerError, match="EXPERT_KEY holds signs that cannot be sent") as caught:
        ChatClient(LLMConfig("http://localhost/v1", "expert", api_key_variable="EXPERT_KEY"))
    assert "quoted" not in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0.0),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "-7"}, 0.0),
        ({"retry-after": "nan"}, 0.0),
        ({"retry-after": "soon"}, 0.0),
        ({"retry-after": "Wed, 01 Jan 2025 00:00:30 GMT"}, 30.0),
        ({"retry-after": "Wed, 01 Jan 2025 00:00:30 -0000"}, 30.0),
        ({"retry-after": "Tue, 31 Dec 2024 00:00:00 GMT"}, 0.0),
    ],
)
def test_forms_of_retry_after(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(headers, now=datetime(2025, 1, 1, tzinfo=UTC)) == seconds


@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"[]", b"{}", b'{"choices": []}', b'{"choices": {}}', b'{"choices": [5]}', b"\xff{}", b"<html>",
     b'{"choices": [{"message": null}]}', b'{"error": {"message": "overloaded"}}', b"[" * 100_000],
)  # fmt: skip
def test_garbled_replies(content: bytes) -> None:
    failure = parse_reply(content)
    assert not isinstance(failure, Reply)
    assert failure.kind == "passing"


def test_replies_are_read_leniently() -> None:
    choices = b'[{"message": {"content": "\\ud800 x "}}, {"message": {"content": ""}}, {"message": {}}]'
    assert parse_reply(b'{"choices": ' + choices + b"}") == Reply(["? x", None, None], 0, 0)
    usage = b'{"prompt_tokens": "many", "completion_tokens": -3}'
    assert parse_reply(b'{"choices": ' + choices + b', "usage": ' + usage + b"}").completion_tokens == 0


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        (" plain\n", "plain"),
        ("<think>hm</think>\nBees.", "Bees."),
        ("hm\n</think>\nBees.", "Bees."),
        ("<think>hm", ""),
        ("a <think> in the middle", "a <think> in the middle"),
    ],
)
def test_reasoning_is_left_out(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned
