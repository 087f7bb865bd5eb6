"""`o1 synthesize --expert llm` against a real HTTP server: pairing, bounds, kills that cost only what is in flight."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from o1_retriever.cli import main
from tests.chat_server import Behaviour, ChatServer

QUESTIONS, ANGLES, IN_FLIGHT = 500, 3, 12
WORDS = ["amber", "basalt", "cedar", "dune", "ember", "fjord", "grove", "heath", "islet", "jetty"]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def collection(folder: Path, size: int) -> Path:
    """As many questions, each for one passage."""
    (folder / "qrels").mkdir(parents=True)
    names = [f"{WORDS[i // 100]}{WORDS[i // 10 % 10]}{WORDS[i % 10]}" for i in range(size)]
    write_jsonl(folder / "corpus.jsonl", [{"_id": f"p{i}", "text": f"The {n} is here."} for i, n in enumerate(names)])
    write_jsonl(folder / "queries.jsonl", [{"_id": f"q{i}", "text": f"Where is the {n}?"} for i, n in enumerate(names)])
    lines = [f"q{i}\tp{i}\t1\n" for i in range(size)]
    (folder / "qrels" / "train.tsv").write_text("".join(lines))
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """500 questions."""
    return collection(tmp_path / "data", QUESTIONS)


@pytest.fixture
def little(tmp_path: Path) -> Path:
    """40 questions."""
    return collection(tmp_path / "little", 40)


def arguments(data: Path, url: str, output: Path) -> list[str]:
    given = ["synthesize", "--data", str(data), "--expert", "llm", "--members", "bm25", "--output", str(output)]
    given += ["--llm.base_url", url, "--llm.model", "expert", "--llm.concurrency", str(IN_FLIGHT)]
    return [*given, "--llm.backoff_s", "0.01", "--refine.reject_worse", "false"]


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def check_pairs(output: Path, questions: int = QUESTIONS) -> None:
    rows = rows_of(output)
    assert len(rows) == questions
    for row in rows:
        assert len(row["thoughts"]) == ANGLES
        assert all(thought.startswith(ChatServer.answer_to(row["query"])) for thought in row["thoughts"])


def test_each_of_500_queries_gets_its_own_three_candidates(data: Path, tmp_path: Path) -> None:
    with ChatServer(Behaviour(scatter=0.2, slow_s=0.2, scattered=("429", "500", "truncated", "closed"))) as server:
        assert main(arguments(data, server.url, tmp_path / "train.jsonl")) == 0
        assert server.peak <= IN_FLIGHT
        answered = Counter((seen.query, seen.angle) for seen in server.seen if seen.outcome == "answered")
        assert len(answered) == QUESTIONS * ANGLES and set(answered.values()) == {1}
    check_pairs(tmp_path / "train.jsonl")
    report = json.loads((tmp_path / "train.report.json").read_text())
    assert report["candidates per query"] == {"3": QUESTIONS}
    assert report["usage"]["prompt_tokens"] == 10 * QUESTIONS * ANGLES
    assert report["usage"]["completion_tokens"] == 5 * QUESTIONS * ANGLES


@pytest.fixture
def server_process(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A server in its own process: its URL and its log."""
    log = tmp_path / "seen.jsonl"
    script = Path(__file__).parents[2] / "chat_server.py"
    command = [sys.executable, str(script), "--log", str(log), "--delay", "0.03", "--unnumbered"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process.stdout.readline().strip(), log
    process.kill()
    process.wait()


def requests(log: Path) -> Counter[tuple[str, str]]:
    return Counter((row["query"], row["angle"]) for row in rows_of(log) if row["event"] == "request")


@pytest.mark.slow
def test_killed_three_times_nothing_is_asked_twice(
    data: Path, tmp_path: Path, server_process: tuple[str, Path]
) -> None:
    url, log = server_process
    undisturbed, killed = tmp_path / "undisturbed.jsonl", tmp_path / "killed.jsonl"
    code = "import sys; from o1_retriever.cli import main; sys.exit(main(sys.argv[1:]))"

    def start(output: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", code, *arguments(data, url, output)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)

    assert start(undisturbed).wait() == 0
    alone = requests(log)
    log.unlink()
    journal = tmp_path / "killed.jsonl.stages" / "data" / "explore.1of1.jsonl"
    for goal in (200, 600, 1100):
        process = start(killed)
        while not journal.exists() or journal.read_bytes().count(b"\n") < goal:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert start(killed).wait() == 0
    assert killed.read_bytes() == undisturbed.read_bytes()
    check_pairs(killed)
    assert set(alone.values()) == {1} and set(requests(log)) == set(alone)
    again = requests(log) - alone
    assert sum(again.values()) <= 3 * IN_FLIGHT, "only what was in flight at a kill"


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (Behaviour(key="right"), "OPENAI_API_KEY"),
        (Behaviour(models=("another",)), "expert"),
        (Behaviour(scatter=1.0, scattered=("500",), faults=["500"] * 1000), "after 6 attempts"),
    ],
)
def test_an_endpoint_that_does_not_answer_is_one_message(
    little: Path, tmp_path: Path, behaviour: Behaviour, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with ChatServer(behaviour) as server:
        assert main(arguments(little, server.url, tmp_path / "train.jsonl")) == 2
        errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("o1: error")]
        assert len(errors) == 1 and message in errors[0]
        behaviour.key, behaviour.models, behaviour.faults = None, ("expert",), []
        assert main(arguments(little, server.url, tmp_path / "train.jsonl")) == 0
    check_pairs(tmp_path / "train.jsonl", 40)


def test_an_endpoint_that_is_down(little: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ChatServer() as server:
        url = server.url
    assert main([*arguments(little, url, tmp_path / "train.jsonl"), "--llm.attempts", "2"]) == 2
    assert "is a server running there?" in capsys.readouterr().err


def test_refused_candidates_are_counted_and_the_rest_goes_on(little: Path, tmp_path: Path) -> None:
    with ChatServer(Behaviour(declined="amberambercedar", filtered="amberdune")) as server:
        assert main(arguments(little, server.url, tmp_path / "train.jsonl")) == 0
    report = json.loads((tmp_path / "train.report.json").read_text())
    assert report["candidates per query"] == {"0": 12, "3": 28}
    assert report["usage"]["refused"] == 12 * ANGLES
    assert report["rows without a thought"] == 12


def test_a_server_that_refuses_everything_is_misconfigured_and_nothing_is_kept(
    little: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ChatServer(Behaviour(refused="Where is the")) as server:
        assert main(arguments(little, server.url, tmp_path / "train.jsonl")) == 2
        assert "refused the first 20 requests" in capsys.readouterr().err
        server.behaviour.refused = None
        assert main(arguments(little, server.url, tmp_path / "train.jsonl")) == 0
    check_pairs(tmp_path / "train.jsonl", 40)


def test_other_judgements_cost_no_new_answers(little: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ChatServer() as server:
        assert main(arguments(little, server.url, tmp_path / "train.jsonl")) == 0
        asked = len(server.seen)
        qrels = little / "qrels" / "train.tsv"
        qrels.write_text(qrels.read_text().replace("q3\tp3\t", "q3\tp4\t"))
        assert main(arguments(little, server.url, tmp_path / "train.jsonl")) == 2
        assert "remove refine.*.jsonl" in capsys.readouterr().err
        for stage in ("refine", "negatives"):
            (tmp_path / "train.jsonl.stages" / "little" / f"{stage}.1of1.jsonl").unlink()
        assert main(arguments(little, server.url, tmp_path / "train.jsonl")) == 0
        assert len(server.seen) == asked
    assert rows_of(tmp_path / "train.jsonl")[3]["pos"] == rows_of(tmp_path / "train.jsonl")[4]["pos"]
