"""Which errors of language models pass and which do not, whatever library they come from."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from o1_retriever.errors import ThinkerError, TransientThinkerError
from o1_retriever.foreign_failures import thinker_error


class LibraryError(Exception):
    """An error as libraries make them: with attributes."""

    def __init__(self, text: str = "it went wrong", **attributes: Any) -> None:
        super().__init__(text)
        self.__dict__.update(attributes)


class APITimeoutError(LibraryError):
    """Named like openai's and anthropic's."""


class ConnectError(LibraryError):
    """Named like httpx's."""


class BusyError(LibraryError):
    """Says itself that another try helps."""

    is_retryable = True


class RateLimitError(LibraryError):
    """Says itself that no other try helps, whatever its name."""

    is_retryable = False


class Response:
    def __init__(self, status_code: int) -> None:
        self.status_code = status_code


def wrapped(cause: Exception) -> Exception:
    try:
        raise LibraryError("the model failed") from cause
    except LibraryError as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        LibraryError(status_code=429),
        LibraryError(status_code=503),
        LibraryError(status=408),
        LibraryError(http_status=500),
        LibraryError(code=529),
        LibraryError(response=Response(502)),
        LibraryError(response={"ResponseMetadata": {"HTTPStatusCode": 500}}),
        BusyError(),
        APITimeoutError(),
        ConnectError(),
        TimeoutError(),
        ConnectionResetError(),
        wrapped(LibraryError(status_code=500)),
        wrapped(ConnectError()),
    ],
    ids=repr,
)
def test_errors_that_pass(error: Exception) -> None:
    assert isinstance(thinker_error("the model", error), TransientThinkerError)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (LibraryError(status_code=401), "Check its key"),
        (LibraryError(response=Response(403)), "Check its key"),
        (LibraryError(response={"ResponseMetadata": {"HTTPStatusCode": 403}}), "Check its key"),
        (LibraryError(response={"ResponseMetadata": None}), "check its settings"),
        (LibraryError(status_code=True), "check its settings"),
        (RateLimitError(), "check its settings"),
        (LibraryError(status_code=404), "Check the model's name"),
        (LibraryError(status_code=400), "check its settings"),
        (LibraryError(status_code=429, code="insufficient_quota"), "check its settings"),
        (ValueError("no such argument"), "check its settings"),
        (wrapped(LibraryError(status_code=401)), "Check its key"),
        (ConnectError(status_code=401), "Check its key"),  # a status says more than a name
    ],
    ids=repr,
)
def test_errors_that_last(error: Exception, advice: str) -> None:
    found = thinker_error("the model", error)
    assert isinstance(found, ThinkerError) and not isinstance(found, TransientThinkerError)
    assert advice in str(found)


def test_the_message_says_who_and_what_but_no_secret() -> None:
    for secrets in ([SecretStr("sk-1")], ["sk-1"], [None, 7, "", SecretStr("other"), "sk-1"]):
        error = thinker_error("GPT 'x'", LibraryError("bad\n  key sk-1 given", status_code=401), secrets)
        assert str(error).startswith("GPT 'x' gave no thoughts (LibraryError: bad key *** given). ")
    long = LibraryError("x" * 297 + " sk-1", status_code=401)
    assert " sk" in str(thinker_error("GPT 'x'", long, [7]))
    assert " sk" not in str(thinker_error("GPT 'x'", long, ["sk-1"])), "cut out before the text is cut"


def test_causes_that_go_round_in_circles_end() -> None:
    first, second = LibraryError(), LibraryError()
    first.__cause__, second.__cause__ = second, first
    assert not isinstance(thinker_error("the model", first), TransientThinkerError)
