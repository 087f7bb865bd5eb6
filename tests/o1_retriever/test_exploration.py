"""Exploration with any thinker: as it streams, or in batches that one query cannot spoil."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence

import pytest

from o1_retriever import RecordedThoughts
from o1_retriever.errors import InvalidInputError, InvalidTypeError, ThinkerError, TransientThinkerError
from o1_retriever.exploration import Exploration, explore
from o1_retriever.usage import Meter, Usage


class Noting:
    """Notes how it is asked; fails for queries in `bad`."""

    fingerprint = "noting"

    def __init__(self, bad: Sequence[str] = (), error: type[ThinkerError] = ThinkerError) -> None:
        self.bad, self.error = bad, error
        self.calls: list[list[str]] = []

    def think(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[list[str]]:
        assert evidence is None
        self.calls.append(list(queries))
        for query in queries:
            if query in self.bad:
                raise self.error(f"nothing on {query}")
        return [[f"{query}{number}" for number in range(num_thoughts)] for query in queries]


class Streaming(Noting):
    """Hands its results out backwards."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def iter_think(self, queries: Iterable[str], num_thoughts: int) -> Iterator[Exploration]:
        try:
            for index, query in reversed(list(enumerate(queries))):
                yield Exploration(index, [query] * num_thoughts, Usage(requests=1))
        finally:
            self.closed = True


def test_batches() -> None:
    thinker = Noting()
    found = list(explore(thinker, list("abcde"), 2, batch=2))
    assert found == [Exploration(index, [f"{query}0", f"{query}1"], Usage()) for index, query in enumerate("abcde")]
    assert thinker.calls == [["a", "b"], ["c", "d"], ["e"]]


def test_batches_are_asked_for_when_they_are_needed() -> None:
    thinker = Noting()
    found = explore(thinker, list("abcde"), 2, batch=2)
    assert thinker.calls == []
    next(found)
    next(found)
    assert thinker.calls == [["a", "b"]]


def test_a_thinker_that_streams() -> None:
    thinker = Streaming()
    found = explore(thinker, ["a", "b", "c"], 2)
    assert next(found) == Exploration(2, ["c", "c"], Usage(requests=1))
    assert isinstance(found, Iterator)
    found.close()  # type: ignore[attr-defined]
    assert thinker.closed
    assert thinker.calls == []


def test_one_query_does_not_spoil_the_others(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    thinker = Noting(bad="c")
    found = {item.index: item.texts for item in explore(thinker, list("abcd"), 1, batch=4)}
    assert found == {0: ["a0"], 1: ["b0"], 2: [], 3: ["d0"]}
    assert thinker.calls == [["a", "b", "c", "d"], ["a"], ["b"], ["c"], ["d"]]
    assert "no thoughts for 'c': nothing on c" in caplog.text
    assert "no thoughts for 1 of 4 queries" in caplog.text


def test_recorded_thoughts_with_a_gap() -> None:
    recorded = RecordedThoughts({"a": ["1", "2"], "b": ["3"]})
    found = {item.index: item.texts for item in explore(recorded, ["a", "b", "z"], 2)}
    assert found == {0: ["1", "2"], 1: [], 2: []}


def test_a_passing_error_is_raised() -> None:
    with pytest.raises(TransientThinkerError, match="nothing on c"):
        list(explore(Noting(bad="c", error=TransientThinkerError), list("abcd"), 1))


def test_a_thinker_that_loses_queries() -> None:
    class Losing(Noting):
        def think(self, *args: object, **kwargs: object) -> list[list[str]]:
            return [["only one"]]

    with pytest.raises(InvalidInputError, match="2 lists, got 1"):
        list(explore(Losing(), ["a", "b"], 1))


def test_arguments() -> None:
    with pytest.raises(InvalidInputError, match="batch must be at least 1"):
        explore(Noting(), ["a"], 1, batch=0)
    with pytest.raises(InvalidTypeError, match="num_thoughts must be an int"):
        explore(Noting(), ["a"], 1.5)  # type: ignore[arg-type]
    assert list(explore(Noting(), [], 3)) == []
    assert list(explore(Noting(), ["a"], 0)) == [Exploration(0, [])]


def test_usage_adds_up() -> None:
    one = Usage(requests=1, retries=2, refused=3, prompt_tokens=4, completion_tokens=5, cost=0.5)
    assert one + one == Usage(2, 4, 6, 8, 10, 1.0)
    assert sum([one, one], Usage()) == one + one


def test_meters_tell_their_parents() -> None:
    parent = Meter()
    children = Meter(parent), Meter(parent)
    for child in children:
        child.add(Usage(requests=1))
    children[0].add(Usage(cost=0.5))
    assert parent.usage == Usage(requests=2, cost=0.5)
    assert children[1].usage == Usage(requests=1)
