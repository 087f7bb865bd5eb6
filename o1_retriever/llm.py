"""A client for chat models behind any OpenAI-compatible endpoint: bounded, patient, and counting what it costs.

Knows messages and texts; what is asked is decided elsewhere (`tasks.py`, `llm_thinker.py`). The package `openai` is
imported when the first client is made.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Coroutine, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import Any, TypeVar

from o1_retriever.background_loop import BackgroundLoop
from o1_retriever.config import require_int
from o1_retriever.errors import MissingDependencyError, ThinkerError, TransientThinkerError
from o1_retriever.llm_config import LLMConfig
from o1_retriever.llm_failures import Failure, status_failure
from o1_retriever.llm_replies import Reply, parse_reply
from o1_retriever.usage import Meter, Usage

__all__ = ["ChatClient", "LLMConfig", "Message", "Samples", "Usage", "together"]

logger = logging.getLogger(__name__)
Message = dict[str, str]
"""`{"role": "system" | "user" | "assistant", "content": text}`."""
T = TypeVar("T")


@dataclass(frozen=True)
class Samples:
    """Answers to one prompt.

    Attributes:
        texts: one per answer asked for; None where the model gave no text (refused, filtered, empty).
        usage: what they cost.
    """

    texts: list[str | None]
    usage: Usage


class ChatClient:
    """One client for one model. Safe to use from several threads, and inside a running event loop.

    All requests run in an event loop of the client's own, so that connections are kept and `concurrency` bounds all
    of them together.

    Args:
        config: the address, the model and how to ask it. The key is read from the environment now, and never shown.

    Raises:
        MissingDependencyError: the package `openai` is not installed.
        ThinkerError: the key cannot be sent.
    """

    def __init__(self, config: LLMConfig) -> None:
        self.config = config
        self._library = _load_openai()
        self._key = config.api_key()
        self._openai = self._library.AsyncOpenAI(
            base_url=config.base_url, api_key=self._key, timeout=config.timeout_s, max_retries=0
        )
        self._loop = BackgroundLoop(f"the client of {config.model}", self._openai.close)
        self._slots = asyncio.Semaphore(config.concurrency)
        self._meter = Meter()
        self._jitter = random.Random()  # its own generator: the global one is the caller's
        self._most = config.samples_per_request  # answers per request; lowered when the server gives fewer
        self._warned = False

    @property
    def usage(self) -> Usage:
        """What the client has cost since it was made, failed and stopped requests included."""
        return self._meter.usage

    def __enter__(self) -> ChatClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops what is in flight and closes the connections."""
        self._loop.close()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Runs a coroutine in the client's loop, where `sample` may be awaited; cancelling the future stops it."""
        return self._loop.submit(work)

    def complete(self, messages: Sequence[Message], count: int = 1) -> Samples:
        """Waits for `count` answers to one prompt; see `sample`."""
        future = self.submit(self.sample(messages, count))
        try:
            return future.result()
        finally:
            future.cancel()  # after Ctrl-C; does nothing to a finished one

    async def sample(self, messages: Sequence[Message], count: int = 1, first: int = 0) -> Samples:
        """`count` answers to one prompt. Runs in the client's loop only: see `submit`.

        Args:
            messages: the prompt.
            count: answers wanted.
            first: number of the first one; with the seed it decides what is sent as seed.

        Raises:
            ThinkerError: the server will never answer: wrong key, unknown model, a setting it does not know.
            TransientThinkerError: it did not answer, `attempts` times.
        """
        require_int("count", count, 0)
        meter = Meter(self._meter)
        texts = await self._collect(list(messages), count, first, meter)
        return Samples(texts, meter.usage)

    async def _collect(self, messages: list[Message], count: int, first: int, meter: Meter) -> list[str | None]:
        """Requests of at most `_most` answers, side by side."""
        starts = range(0, count, self._most)
        sizes = [min(self._most, count - start) for start in starts]
        parts = await together(
            self._ask(messages, size, first + start, meter) for start, size in zip(starts, sizes, strict=True)
        )
        return [text for part in parts for text in part]

    async def _ask(self, messages: list[Message], count: int, first: int, meter: Meter) -> list[str | None]:
        """`count` answers by one request, and by further ones where the server gives fewer."""
        reply = await self._exchange(messages, count, first, meter)
        if isinstance(reply, Failure) and count > 1:
            reply = await self._exchange(messages, 1, first, meter)  # was it the number, or the content?
        if isinstance(reply, Failure):
            meter.add(Usage(refused=count))
            self._warn(reply)
            return [None] * count
        texts = reply.texts[:count]
        meter.add(Usage(refused=texts.count(None)))
        if len(texts) == count:
            return texts
        self._lower(len(texts))
        return texts + await self._collect(messages, count - len(texts), first + len(texts), meter)

    def _lower(self, most: int) -> None:
        if most < self._most:
            logger.info("%s gives %d answer(s) per request at most", self.config.base_url, most)
            self._most = most

    def _warn(self, failure: Failure) -> None:
        level = logging.DEBUG if self._warned else logging.WARNING
        self._warned = True
        logger.log(level, "a request was refused; further ones are only counted: %s", failure.message)

    async def _exchange(self, messages: list[Message], count: int, first: int, meter: Meter) -> Reply | Failure:
        """One request, repeated while it fails; a `Failure` only where its content was refused."""
        body, said = self._body(messages, count, first), ""
        async with self._slots:  # kept while waiting: a server that asks for patience gets it
            for attempt in range(1, self.config.attempts + 1):
                meter.add(Usage(requests=1, retries=int(attempt > 1)))
                outcome = await self._attempt(body)
                if isinstance(outcome, Reply):
                    meter.add(self.config.cost(outcome.prompt_tokens, outcome.completion_tokens))
                    return outcome
                if outcome.kind == "refused":
                    return outcome
                if outcome.kind == "permanent":
                    raise ThinkerError(outcome.message)
                said = outcome.message
                if attempt < self.config.attempts:
                    await asyncio.sleep(self._pause(attempt, outcome))
        raise TransientThinkerError(
            f"No answer from {self.config.base_url} after {self.config.attempts} attempts; the last one: "
            f"{said}. Try again later, or raise attempts, backoff_s or timeout_s."
        )

    def _pause(self, attempt: int, failure: Failure) -> float:
        """Seconds before the next attempt: doubled each time, jittered, and never less than the server asks for."""
        if failure.wait_s > self.config.max_wait_s:
            raise TransientThinkerError(
                f"{failure.message}, and asks to wait for {failure.wait_s:.0f} s: try again then, or raise max_wait_s "
                f"({self.config.max_wait_s:.0f} s)."
            )
        backoff = self.config.backoff_s * 2.0 ** (attempt - 1) * self._jitter.uniform(0.5, 1.5)
        return max(failure.wait_s, min(backoff, self.config.max_wait_s))

    def _body(self, messages: list[Message], count: int, first: int) -> dict[str, Any]:
        config = self.config
        optional = {
            "temperature": config.temperature,
            "top_p": config.top_p,
            "seed": None if config.seed is None else config.seed + first,
            "n": count if count > 1 else None,  # some servers know no n at all
        }
        settings = {name: value for name, value in optional.items() if value is not None}
        return {"model": config.model, "messages": messages, config.max_tokens_parameter: config.max_tokens, **settings}

    async def _attempt(self, body: dict[str, Any]) -> Reply | Failure:
        """Sends one request. Returns failures, so that no traceback carries what a server said about the key."""
        try:
            async with asyncio.timeout(self.config.timeout_s):
                response = await self._openai.chat.completions.with_raw_response.create(**body)
            return parse_reply(response.content)
        except (TimeoutError, self._library.APITimeoutError):
            return Failure("passing", f"no answer within {self.config.timeout_s:g} s")
        except self._library.APIStatusError as error:
            return status_failure(error.status_code, error.body, error.response.headers, self.config, self._key)
        except self._library.APIConnectionError as error:
            cause = type(error.__cause__).__name__ if error.__cause__ else "no cause given"
            return Failure("passing", f"the connection failed ({cause}): is a server running there?")


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Runs the works side by side; the first error stops the others and is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _load_openai() -> ModuleType:
    try:
        import openai
    except ImportError as error:
        raise MissingDependencyError(
            "Asking a language model over HTTP needs the package openai: pip install 'o1-retriever[synthesis]'"
        ) from error
    return openai
