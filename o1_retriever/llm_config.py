"""How to reach a language model and how to sample from it. Knows nothing of the client that uses it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from o1_retriever.config import require, require_float, require_int
from o1_retriever.errors import ThinkerError
from o1_retriever.usage import Usage

NO_KEY = "none"
"""Sent where no key is set: servers without keys ignore it, but the protocol wants one."""


@dataclass(frozen=True)
class LLMConfig:
    """A model behind an OpenAI-compatible endpoint (vLLM, Ollama, OpenAI and others), and how to ask it.

    Attributes:
        base_url: address of the endpoint; it usually ends in `/v1`.
        model: the name by which the server knows the model.
        api_key_variable: name of the environment variable that holds the key; where it is not set, "none" is sent.
        temperature: divides the logits; 0 is greedy; None leaves it to the server.
        top_p: smallest probability mass that the sampled tokens come from, in (0, 1]; None leaves it to the server.
        max_tokens: tokens per answer at most.
        max_tokens_parameter: the name of that limit in a request; some newer models know only the second one.
        samples_per_request: answers asked for with one request at most (`n`). A server that refuses more than one, or
            gives fewer, is asked again for the rest and not asked for so many any more.
        seed: sent with each request, plus the answer's number, so that answers to one prompt differ; None sends none.
        concurrency: requests in flight at most, over all threads that use one client.
        timeout_s: seconds that one request may take.
        attempts: how often a request is sent at most, the first time included.
        backoff_s: seconds before the second attempt, doubled for each further one; each pause is drawn from half to
            one and a half times of that.
        max_wait_s: seconds between two attempts at most. A server that asks for a longer pause has failed.
        prompt_price: USD per million prompt tokens.
        completion_price: USD per million completion tokens.
    """

    base_url: str
    model: str
    api_key_variable: str = "OPENAI_API_KEY"
    temperature: float | None = 1.0
    top_p: float | None = 0.95
    max_tokens: int = 256
    max_tokens_parameter: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    samples_per_request: int = 8
    seed: int | None = None
    concurrency: int = 16
    timeout_s: float = 120.0
    attempts: int = 6
    backoff_s: float = 1.0
    max_wait_s: float = 60.0
    prompt_price: float = 0.0
    completion_price: float = 0.0

    def __post_init__(self) -> None:
        self._check_address()
        if self.temperature is not None:
            require_float("temperature", self.temperature, 0.0, 100.0)
        if self.top_p is not None:
            require_float("top_p", self.top_p, 0.0, 1.0)
            require(self.top_p > 0, "top_p must be above 0; use temperature=0 for greedy decoding.")
        require_int("max_tokens", self.max_tokens, 1)
        names = ("max_tokens", "max_completion_tokens")
        require(
            self.max_tokens_parameter in names,
            f"max_tokens_parameter must be one of {names}, got {self.max_tokens_parameter!r}.",
        )
        require_int("samples_per_request", self.samples_per_request, 1)
        if self.seed is not None:
            require_int("seed", self.seed, 0)
        require_int("concurrency", self.concurrency, 1)
        require(self.concurrency <= 1000, f"concurrency must be at most 1000, got {self.concurrency}.")
        require_float("timeout_s", self.timeout_s, 0.001, 86400.0)
        require_int("attempts", self.attempts, 1)
        require_float("backoff_s", self.backoff_s, 0.0, 3600.0)
        require_float("max_wait_s", self.max_wait_s, 0.0, 86400.0)
        require_float("prompt_price", self.prompt_price, 0.0, 1e9)
        require_float("completion_price", self.completion_price, 0.0, 1e9)

    def _check_address(self) -> None:
        for name in ("base_url", "model", "api_key_variable"):
            value = getattr(self, name)
            require(isinstance(value, str) and bool(value.strip()), f"{name} must be a name, got {value!r}.")
        try:
            parts = urlsplit(self.base_url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            parts, usable = None, False
        require(
            parts is None or "@" not in parts.netloc,
            f"base_url must not hold a password: put the key into the environment variable {self.api_key_variable}.",
        )
        require(usable, f"base_url must be like http://localhost:8000/v1, got {self.base_url!r}.")

    def api_key(self) -> str:
        """The key, read from the environment.

        Raises:
            ThinkerError: it holds a sign that no HTTP header may carry; the message names the variable, not the key.
        """
        key = os.environ.get(self.api_key_variable, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise ThinkerError(
                f"The key in the environment variable {self.api_key_variable} holds signs that cannot be sent: "
                "copy it again, without line breaks and typographic signs."
            )
        return key or NO_KEY

    def cost(self, prompt_tokens: int, completion_tokens: int) -> Usage:
        """The tokens and what they cost."""
        dollars = (prompt_tokens * self.prompt_price + completion_tokens * self.completion_price) / 1e6
        return Usage(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, cost=dollars)
