"""A place for something loaded inside of an object that is copied and pickled. Knows nothing of what it holds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Slot(Generic[T]):
    """Keeps one value, made on first use and again when its key changes.

    Copies and pickles of a slot are empty: weights, locks and files stay where they are.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: tuple[Hashable, T] | None = None

    def peek(self, key: Hashable) -> T | None:
        """The value of this key if it is there; never waits for one that is being made."""
        held = self._held
        return held[1] if held is not None and held[0] == key else None

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of this key.

        Args:
            key: everything that decides it.
            make: called where the slot holds none, or one of another key.
        """
        with self._lock:
            if self._held is None or self._held[0] != key:
                self._held = key, make()
            return self._held[1]

    def __reduce__(self) -> tuple[type[Slot[T]], tuple[()]]:
        return type(self), ()
