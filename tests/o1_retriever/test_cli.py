"""The command `o1`: output, exit statuses, and errors in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from o1_retriever import O1Embedder, cli
from o1_retriever.cli import main

Capture = pytest.CaptureFixture[str]


def error_line(capsys: Capture) -> str:
    """The single line on stderr; stdout holds nothing."""
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    return lines[0]


def test_info(tiny_folder: str, tiny: O1Embedder, capsys: Capture) -> None:
    assert main(["info", "--model", tiny_folder, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["dimension"] == 32
    assert facts["parameters"] == sum(p.numel() for p in tiny.model.parameters())
    assert facts["dtype"] == "float32"
    assert (facts["num_thoughts"], facts["temperature"], facts["top_p"]) == (3, 1.0, 0.95)
    loaded = O1Embedder.from_pretrained(tiny_folder)
    assert facts["passage_fingerprint"] == loaded.passage_fingerprint
    assert main(["info", "--model", tiny_folder, "--dtype", "bfloat16"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["dtype"] == "bfloat16"
    assert lines["passage_fingerprint"] == loaded.passage_fingerprint


def test_think(tiny_folder: str, tiny: O1Embedder, capsys: Capture) -> None:
    assert main(["think", "why?", "-k", "2", "--model", tiny_folder, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"query": "why?", "thoughts": tiny.think("why?", 2)}
    assert main(["think", "--model", tiny_folder, "--seed", "4", "--temperature", "0", "why?"]) == 0
    out = capsys.readouterr().out
    greedy = [line.partition(". ")[2] for line in out.splitlines() if line[:3] in ("1. ", "2. ", "3. ")]
    assert len(greedy) == 3
    assert len(set(greedy)) == 1


def test_think_with_a_language_model(
    chat_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """No model of ours is loaded for it."""
    monkeypatch.setenv("OPENAI_API_KEY", "right")
    monkeypatch.setattr(cli, "load_embedder", lambda *_, **__: pytest.fail("an embedder was loaded"))
    server = chat_server(key="right")
    asked = ["think", "why?", "-k", "2", "--json", "--llm.base_url", server.url, "--llm.model", "expert"]
    assert main([*asked, "--llm.temperature", "0.3", "--task", "finance"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["query"] == "why?" and len(set(answer["thoughts"])) == 2
    assert {seen.body["temperature"] for seen in server.seen} == {0.3}
    assert main([*asked, "--seed", "1"]) == 2
    assert "with --llm.model use --llm.seed" in error_line(capsys)
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    assert main(asked) == 2
    assert error_line(capsys).startswith("o1: error: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["think", "why?", "-k", "-1"], "num_thoughts must be at least 0, got -1."),
        (["think", "why?", "--temperature", "-2"], "temperature must lie between"),
        (["think", " "], "query 0 is empty"),
        (["think", "why?", "--dtype", "float3"], "Unknown dtype 'float3'"),
        (["think", "why?", "--device", "gpu"], "no device 'gpu'"),
    ],
)
def test_errors_are_one_line(tiny_folder: str, arguments: list[str], message: str, capsys: Capture) -> None:
    assert main([*arguments, "--model", tiny_folder]) == 2
    line = error_line(capsys)
    assert line.startswith("o1: error: ")
    assert message in line


def test_an_unknown_model(capsys: Capture) -> None:
    assert main(["info", "--model", "./no-such-folder"]) == 2
    assert "./no-such-folder" in error_line(capsys)


@pytest.mark.parametrize(
    "arguments", [["info", "--no-such-flag"], ["think"], ["think", "q", "-k", "x"], ["fly"], ["--x"]]
)
def test_usage_errors_exit_with_2(arguments: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "usage: o1" in err


def test_no_verb_at_all(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2
    assert "usage: o1" in capsys.readouterr().err


def test_help_names_the_verbs(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert all(verb in out for verb in ("info", "think", "index", "search"))


@pytest.mark.parametrize("verb", ["index", "search"])
def test_a_verb_of_a_missing_distribution(verb: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(cli, "entry_points", lambda group: [])
    assert main([verb, "PATH", "--store", "S"]) == 2
    assert error_line(capsys) == (
        f"o1: error: `o1 {verb}` comes with chroma-o1, which is not installed: pip install chroma-o1"
    )


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, 130), (cli.O1Error, 2)])
def test_exit_statuses(
    error: type[BaseException], status: int, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def fail(self: object, args: object) -> int:
        raise error("stopped here")

    monkeypatch.setattr(cli.InfoCommand, "run", fail)
    assert main(["info"]) == status
    assert error_line(capsys).startswith("o1: ")


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object, args: object) -> int:
        raise RuntimeError("a bug")

    monkeypatch.setattr(cli.InfoCommand, "run", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["info"])


def test_other_distributions_add_verbs(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    class Hello:
        help = "says hello"

        def add_arguments(self, parser: cli.ArgumentParser) -> None:
            parser.add_argument("--name", type=str, default="you")

        def run(self, args: cli.Namespace) -> int:
            print(f"hello {args.name}")
            return 0

    class Entry:
        name = "hello"

        @staticmethod
        def load() -> Callable[[], Hello]:
            return Hello

    monkeypatch.setattr(cli, "entry_points", lambda group: [Entry] if group == cli.GROUP else [])
    assert main(["hello", "--name", "Ada"]) == 0
    assert capsys.readouterr().out == "hello Ada\n"
