"""What calls to a language model cost: counters that add up. Knows nothing of clients."""

from __future__ import annotations

import dataclasses
import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Usage:
    """Counters of calls to a language model; `a + b` adds each of them.

    Attributes:
        requests: HTTP requests sent, repeated ones included.
        retries: how many of them repeated a failed one.
        refused: answers asked for that came without a text: the request was refused for its content, or the answer was
            filtered, declined or empty.
        prompt_tokens: tokens read, as the server counts them.
        completion_tokens: tokens written, as the server counts them.
        cost: USD, by the prices of the client's configuration.
    """

    requests: int = 0
    retries: int = 0
    refused: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        """Adds each counter."""
        names = [field.name for field in dataclasses.fields(self)]
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in names})


class Meter:
    """Adds up usage as it happens, so that work which fails or is stopped half way is counted too.

    Args:
        parent: a meter that counts the same once more: the client's, for the meter of one of its calls.
    """

    def __init__(self, parent: Meter | None = None) -> None:
        self.usage = Usage()
        self._parent = parent
        self._lock = threading.Lock()

    def add(self, usage: Usage) -> None:
        with self._lock:
            self.usage = self.usage + usage
        if self._parent is not None:
            self._parent.add(usage)
