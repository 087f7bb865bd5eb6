"""A real HTTP server that speaks the chat-completions protocol and misbehaves as it is told.

In a thread:     with ChatServer(Behaviour(...)) as server: ... server.url, server.seen, server.peak
As a process:    python tests/chat_server.py --port 0 --log seen.jsonl --scatter 0.2   (prints its URL, then serves)

Each answer is made from the query, the angle and its number, so that a wrong pairing shows; every answer to a query
begins with `ChatServer.answer_to(query)`. Of the conversation it reads the last message's first paragraph, the query,
and the system message's last paragraph, the angle. Only the loopback address is served.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import hashlib
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import uvicorn

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]

FAULTS = ("429", "500", "503", "slow", "truncated", "closed", "empty")
"""What `Behaviour.faults` and `Behaviour.scatter` hand out; any other status code may be named too.

slow: the answer comes after `slow_s`; truncated: half of the JSON; closed: the connection ends in the middle of the
body; empty: no choices.
"""


@dataclass
class Behaviour:
    """How the server answers; may be changed while it runs.

    Attributes:
        key: the right key; None takes any.
        models: the models it knows.
        delay_s: seconds per answer.
        slow_s: seconds of a slow one.
        retry_after: header of 429; None sends none.
        faults: kinds for the next requests, one each; "ok" answers.
        scatter: share of the (query, angle, first request) that meet a fault of `scattered` once; chosen by a hash of
            query and angle, so that it does not depend on order.
        scattered: kinds to choose from.
        most_choices: choices per answer at most, whatever n asks for.
        refuse_n: 400 for n above 1.
        no_setting: name of a request's parameter that is refused with 400.
        refused: 400 for queries that hold this text.
        filtered: finish_reason content_filter for queries that hold this text.
        declined: the refusal field for queries that hold this text.
        numbered: answers tell the request's number; without it, they depend on query and angle alone.
    """

    key: str | None = None
    models: tuple[str, ...] = ("expert",)
    delay_s: float = 0.0
    slow_s: float = 5.0
    retry_after: str | None = "0.05"
    faults: list[str] = field(default_factory=list)
    scatter: float = 0.0
    scattered: tuple[str, ...] = ("429", "500", "truncated", "closed", "empty")
    most_choices: int | None = None
    refuse_n: bool = False
    no_setting: str | None = None
    refused: str | None = None
    filtered: str | None = None
    declined: str | None = None
    numbered: bool = True


@dataclass
class Seen:
    """One request.

    Attributes:
        number: counting from 0.
        query, angle: what it asked.
        body: all of it.
        authorization: the header.
        outcome: "answered", the kind of fault, a status, or "" while it is at work.
        time_in, time_out: seconds since the epoch.
    """

    number: int
    query: str
    angle: str
    body: dict[str, Any]
    authorization: str
    outcome: str = ""
    time_in: float = field(default_factory=time.time)
    time_out: float | None = None


class ChatServer:
    """The server; a context manager that runs it in a thread.

    Args:
        behaviour: how it answers.
        log: JSON lines are appended here: each request when it comes in and again when it is answered.
        port: 0 takes a free one.
    """

    def __init__(self, behaviour: Behaviour | None = None, log: Path | None = None, port: int = 0) -> None:
        self.behaviour = behaviour or Behaviour()
        self.log = log
        self.seen: list[Seen] = []
        self.in_flight = self.peak = 0
        self._met: Counter[tuple[str, str]] = Counter()
        self._socket = socket.create_server(("127.0.0.1", port))
        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            loop="asyncio",
            http="h11",
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="critical",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self.run, daemon=True)

    @staticmethod
    def answer_to(query: str) -> str:
        """How every answer to the query begins."""
        return f"<{query}>"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"

    def queries(self) -> Counter[str]:
        """How often each query was asked."""
        return Counter(seen.query for seen in self.seen)

    def wait_until_idle(self, timeout_s: float = 10.0) -> None:
        """Waits until the server has seen that the clients hung up."""
        deadline = time.monotonic() + timeout_s
        while self.in_flight:
            assert time.monotonic() < deadline, f"{self.in_flight} requests are still in flight"
            time.sleep(0.005)

    def run(self) -> None:
        """Serves until it is stopped."""
        self._server.run(sockets=[self._socket])

    def __enter__(self) -> ChatServer:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    async def _app(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        body = await _body(receive)
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        if (scope["method"], scope["path"]) != ("POST", "/v1/chat/completions"):
            return await _send(send, 404, b'{"detail": "Not Found"}', {})
        seen = self._note(json.loads(body), headers.get("authorization", ""))
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        work, left = asyncio.ensure_future(self._answer(seen, send)), asyncio.ensure_future(_gone(receive))
        await asyncio.wait((work, left), return_when=asyncio.FIRST_COMPLETED)
        left.cancel()
        if not work.done():
            work.cancel()
            seen.outcome = "abandoned"
        self.in_flight -= 1
        seen.time_out = time.time()
        self._write("reply", seen)
        if work.done():
            work.result()  # a mistake in this file shows

    def _note(self, body: dict[str, Any], authorization: str) -> Seen:
        messages = body["messages"]
        query = messages[-1]["content"].partition("\n\n")[0]
        angle = messages[0]["content"].rpartition("\n\n")[2] if messages[0]["role"] == "system" else ""
        seen = Seen(len(self.seen), query, angle, body, authorization)
        self.seen.append(seen)
        self._write("request", seen)
        return seen

    def _write(self, event: str, seen: Seen) -> None:
        if self.log is not None:
            row = {"event": event, **dataclasses.asdict(seen)}
            del row["body"], row["authorization"]
            with self.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**row, "n": seen.body.get("n", 1)}) + "\n")

    async def _answer(self, seen: Seen, send: Send) -> None:
        fault = self._fault(seen)
        if self.behaviour.delay_s:
            await asyncio.sleep(self.behaviour.delay_s)
        status, body, headers = self._reply(seen, fault)
        seen.outcome = fault if fault != "ok" else "answered" if status == 200 else str(status)
        if fault == "slow":
            await asyncio.sleep(self.behaviour.slow_s)
        content = json.dumps(body).encode()
        if fault == "closed":
            await _start(send, 200, len(content), headers)
            await send({"type": "http.response.body", "body": content[: len(content) // 2], "more_body": True})
            return  # uvicorn closes the connection of an unfinished answer
        await _send(send, status, content[: len(content) // 2] if fault == "truncated" else content, headers)

    def _fault(self, seen: Seen) -> str:
        if self.behaviour.faults:
            return self.behaviour.faults.pop(0)
        place = (seen.query, seen.angle)
        self._met[place] += 1
        draw = hashlib.sha256(repr(place).encode()).digest()
        if self._met[place] == 1 and draw[0] < self.behaviour.scatter * 256:
            return self.behaviour.scattered[draw[1] % len(self.behaviour.scattered)]
        return "ok"

    def _reply(self, seen: Seen, fault: str) -> tuple[int, dict[str, Any], dict[str, str]]:
        rules, asked = self.behaviour, seen.body.get("n", 1)
        if rules.key is not None and seen.authorization != f"Bearer {rules.key}":
            return 401, _error(f"Incorrect API key provided: {seen.authorization}", code="invalid_api_key"), {}
        if seen.body["model"] not in rules.models:
            return 404, _error(f"The model {seen.body['model']} does not exist.", code="model_not_found"), {}
        if fault.isdigit():
            headers = {"retry-after": rules.retry_after} if fault == "429" and rules.retry_after else {}
            return int(fault), _error(f"told to answer {fault}"), headers
        if rules.no_setting in seen.body:
            return 400, _error("Unsupported parameter", code="unsupported_parameter", param=rules.no_setting), {}
        if rules.refuse_n and asked > 1:
            return 400, _error("only n=1 is supported", param="n"), {}
        if rules.refused and rules.refused in seen.query:
            return 400, _error("The prompt was flagged.", code="content_policy_violation"), {}
        choices = [self._choice(seen, number) for number in range(min(asked, rules.most_choices or asked))]
        usage = {"prompt_tokens": 10, "completion_tokens": 5 * len(choices)}
        return 200, {"object": "chat.completion", "choices": [] if fault == "empty" else choices, "usage": usage}, {}

    def _choice(self, seen: Seen, number: int) -> dict[str, Any]:
        rules = self.behaviour
        place = f"{seen.number}.{number}" if rules.numbered else str(number)
        text = f"{self.answer_to(seen.query)} {seen.angle} ({place})"
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if rules.filtered and rules.filtered in seen.query:
            return {"index": number, "finish_reason": "content_filter", "message": {**message, "content": "Half a"}}
        if rules.declined and rules.declined in seen.query:
            message = {"role": "assistant", "content": None, "refusal": "I cannot help with that."}
        return {"index": number, "finish_reason": "stop", "message": message}


def _error(message: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "error", "code": code, "param": param}}


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


async def _gone(receive: Receive) -> None:
    """Returns when the client has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _start(send: Send, status: int, length: int, headers: dict[str, str]) -> None:
    fields = {"content-type": "application/json", "content-length": str(length), **headers}
    pairs = [(name.encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})


async def _send(send: Send, status: int, content: bytes, headers: dict[str, str]) -> None:
    await _start(send, status, len(content), headers)
    await send({"type": "http.response.body", "body": content})


def main() -> None:
    """Serves until it is killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path, default=None, help="append each request and each answer to this file")
    parser.add_argument("--key", default=None)
    parser.add_argument("--model", action="append", dest="models", default=None)
    parser.add_argument("--delay", type=float, default=0.0, dest="delay_s", help="seconds per answer")
    parser.add_argument("--slow", type=float, default=5.0, dest="slow_s", help="seconds of a slow answer")
    parser.add_argument("--retry-after", default="0.05", help="header of 429")
    parser.add_argument(
        "--scatter", type=float, default=0.0, help="share of queries and angles that meet a fault first"
    )
    parser.add_argument("--scattered", default=",".join(Behaviour.scattered), help=f"kinds, of {', '.join(FAULTS)}")
    parser.add_argument("--most-choices", type=int, default=None)
    parser.add_argument("--refuse-n", action="store_true")
    parser.add_argument("--unnumbered", action="store_false", dest="numbered", help="answers do not tell the request")
    for name in ("refused", "filtered", "declined"):
        parser.add_argument(f"--{name}", default=None, help=f"queries that hold this text are {name}")
    given = vars(parser.parse_args())
    port, log = given.pop("port"), given.pop("log")
    given["models"] = tuple(given["models"] or Behaviour.models)
    given["scattered"] = tuple(given["scattered"].split(","))
    server = ChatServer(Behaviour(**given), log, port)
    print(server.url, flush=True)
    server.run()


if __name__ == "__main__":
    main()
