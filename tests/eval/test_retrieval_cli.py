"""The command `o1-eval retrieval` from end to end, with tiny random models."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from o1_eval.cli import main
from o1_retriever import O1Embedder, RecordedThoughts, ThinkingConfig
from o1_retriever.encoders import O1Encoder
from o1_retriever.encoding import fast_precision_available
from o1_retriever.errors import ThinkerError, TransientThinkerError

Run = Callable[..., int]


@pytest.fixture
def run(data: Path, tmp_path: Path, tiny_folder: str, tiny_baseline: str) -> Run:
    """`run("--k", "10")` runs the command on the little collection, with results in `out`."""
    fixed = ["--data", str(data), "--out", str(tmp_path / "out"), "--model", tiny_folder, "--baseline", tiny_baseline]
    return lambda *extra: main(["retrieval", *fixed, "--device", "cpu", *extra])


def results(tmp_path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    return content


def by_system(table: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["system"]: row for row in table["rows"]}


def test_the_report(run: Run, tmp_path: Path, tiny_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--thoughts", "0", "2", "--k", "12") == 0
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "out" / "results.md").read_text(encoding="utf-8")
    report = results(tmp_path)
    (table,) = report["tables"]
    rows = by_system(table)
    assert list(rows) == ["BM25", "tiny-baseline", "tiny, no thoughts", "tiny, 2 own thoughts"]
    assert table["queries"] == 4
    assert rows["BM25"]["measures"]["R@10"] == 1.0
    assert rows["tiny-baseline"]["share_of_baseline"] == 100
    thinking, plain = rows["tiny, 2 own thoughts"], rows["tiny, no thoughts"]
    gain = thinking["measures"]["nDCG@10"] - plain["measures"]["nDCG@10"]
    assert thinking["difference"] == pytest.approx(gain)
    assert 0 < thinking["p_value"] <= 1
    assert plain["difference"] is rows["BM25"]["difference"] is None
    assert all(row["queries_per_second"] > 0 for row in table["rows"])
    assert [row["index"] for row in report["indexes"]] == ["BM25", "tiny-baseline", "tiny"]
    fingerprint = O1Embedder.from_pretrained(tiny_folder, device="cpu").passage_fingerprint
    for fact in ("little, split dev", fingerprint, "18, title and text", "--thoughts 0 2 --k 12"):
        assert fact in printed


def test_the_runs(run: Run, tmp_path: Path) -> None:
    assert run("--thoughts", "0", "--k", "12") == 0
    folder = tmp_path / "out" / "runs"
    assert sorted(path.name for path in folder.iterdir()) == [
        "bm25.trec",
        "tiny-baseline.trec",
        "tiny-no-thoughts.trec",
    ]
    lines = [line.split() for line in (folder / "tiny-no-thoughts.trec").read_text().splitlines()]
    assert len(lines) == 4 * 12
    assert [int(line[3]) for line in lines[:12]] == list(range(1, 13))
    scores = [float(line[4]) for line in lines[:12]]
    assert scores == sorted(scores, reverse=True)
    bm25 = (folder / "bm25.trec").read_text().splitlines()
    assert all(float(line.split()[4]) > 0 for line in bm25)


def test_recorded_thoughts_get_a_table_of_their_own(
    run: Run, tmp_path: Path, write_recorded: Callable[[Mapping[str, int]], Path]
) -> None:
    assert run("--thoughts", "0", "2", "--recorded", str(write_recorded({"q1": 2, "q3": 3}))) == 0
    everything, covered = results(tmp_path)["tables"]
    assert (everything["queries"], covered["queries"]) == (4, 2)
    assert "tiny, 2 recorded thoughts" not in by_system(everything)
    assert list(by_system(covered)) == [*by_system(everything), "tiny, 2 recorded thoughts"]
    assert by_system(covered)["tiny, 2 recorded thoughts"]["p_value"] is not None
    run_file = tmp_path / "out" / "runs" / "tiny-2-recorded-thoughts.trec"
    assert {line.split()[0] for line in run_file.read_text().splitlines()} == {"q1", "q3"}


def test_recorded_thoughts_for_every_query_need_one_table(
    run: Run, tmp_path: Path, write_recorded: Callable[[Mapping[str, int]], Path]
) -> None:
    assert run("--thoughts", "1", "--recorded", str(write_recorded({"q1": 1, "q2": 1, "q3": 1, "q4": 1}))) == 0
    (table,) = results(tmp_path)["tables"]
    assert list(by_system(table))[-1] == "tiny, 1 recorded thought"
    assert all(row["difference"] is None for row in table["rows"])  # nothing to compare with: 0 was not asked for


def test_a_second_run_reads_the_vectors(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run() == 0
    first = results(tmp_path)["tables"][0]["rows"]

    def forbidden(*args: object, **kwargs: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(O1Embedder, "encode_document", forbidden)
    monkeypatch.setattr(O1Embedder, "encode_query", forbidden)
    assert run() == 0
    second = results(tmp_path)["tables"][0]["rows"]
    assert [row["measures"] for row in second] == [row["measures"] for row in first]


def test_fast_is_said_or_its_absence(run: Run, tmp_path: Path, tiny: O1Embedder) -> None:
    assert run("--thoughts", "0", "--fast") == 0
    expected = "in bfloat16 autocast" if fast_precision_available(tiny.device) else "in float32"
    assert expected in results(tmp_path)["facts"]["computed"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--split", "night"], r"splits here: \['dev'\]"),
        (["--k", "5"], "--k must be at least 10"),
        (["--thoughts", "-1"], "--thoughts needs numbers of 0 or more"),
        (["--recorded", "none.jsonl"], "none.jsonl"),
        (["--thoughts", "0", "--recorded", "none.jsonl"], "needs a number above 0"),
        (["--model", "./nowhere"], "nowhere"),
        (["--baseline", "./nowhere"], "nowhere"),
        (["--out", "/dev/null"], "/dev/null"),
    ],
)
def test_errors_are_one_line(run: Run, capsys: pytest.CaptureFixture[str], extra: list[str], message: str) -> None:
    assert run(*extra) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = [line for line in captured.err.splitlines() if line.startswith("o1-eval: error:")]
    assert re.search(message, line)
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    ("counts", "message"), [({"q1": 3, "q2": 1}, "1 thoughts are recorded for 'How do bees"), ({}, "for none of the 4")]
)
def test_missing_recorded_thoughts_stop_the_evaluation(
    run: Run,
    tmp_path: Path,
    write_recorded: Callable[[Mapping[str, int]], Path],
    capsys: pytest.CaptureFixture[str],
    counts: dict[str, int],
    message: str,
) -> None:
    assert run("--thoughts", "3", "--recorded", str(write_recorded(counts))) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "cache").exists()


def test_an_evaluation_never_degrades(tiny: O1Embedder) -> None:
    """A thinker that is down for now embeds queries alone elsewhere; here it raises."""

    class Down(RecordedThoughts):
        def think(self, *args: object, **kwargs: object) -> list[list[str]]:
            raise TransientThinkerError("busy")

    encoder = O1Encoder(O1Embedder(tiny.checkpoint, thinker=Down({})), "tiny", 2)
    with pytest.raises(ThinkerError, match="0 thoughts instead of 2 for 'why'"):
        encoder.encode_queries(["why"])


def test_keys_hold_what_decides_the_vectors(tiny: O1Embedder) -> None:
    none, two = O1Encoder(tiny, "a", 0), O1Encoder(tiny, "b", 2)
    assert none.passage_key == two.passage_key
    assert len({none.passage_key, none.query_key, two.query_key}) == 3
    recorded = O1Embedder(tiny.checkpoint, thinker=RecordedThoughts({"q": ["t", "u"]}))
    assert O1Encoder(recorded, "c", 2).query_key != two.query_key
    assert tiny.config.thinking != ThinkingConfig()  # the tiny model samples hot, so the settings are part of its key
