"""`o1 synthesize` on a little collection: rows, report, going on, shards, and what it says to bad input."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from o1_retriever.cli import main
from o1_retriever.synthesis import stages
from o1_retriever.synthesis.experts import RecordedExpert

Run = Callable[..., int]


@pytest.fixture
def run(folder: Path, candidates: Path, tmp_path: Path) -> Run:
    """`run("--flag", "value", output="x")` calls the command with BM25 alone; returns its exit status."""

    def call(*extra: str, output: str = "train.jsonl") -> int:
        given = ["--data", str(folder), "--output", str(tmp_path / output), "--batch", "7", *extra]
        if "--candidates" not in extra and "--expert" not in extra:
            given += ["--candidates", str(candidates)]
        return main(["synthesize", *given, *([] if "--members" in extra else ["--members", "bm25"])])

    return call


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_rows_hold_the_best_thought_and_hard_negatives(run: Run, tmp_path: Path, folder: Path) -> None:
    assert run("--negatives.number", "4") == 0
    rows = rows_of(tmp_path / "train.jsonl")
    queries = rows_of(folder / "queries.jsonl")
    assert [row["query"] for row in rows] == [query["text"] for query in queries]
    texts = {p["_id"]: f"{p['title']} {p['text']}" for p in rows_of(folder / "corpus.jsonl")}
    for row, query in zip(rows, queries, strict=True):
        animal = query["_id"].removeprefix("q-")
        assert row["pos"] == [texts[animal]]
        assert row["thought"] == row["thoughts"][0] and animal[:-1] in row["thought"] and "burrow" in row["thought"]
        assert len(row["scores"]) == len(row["thoughts"]) and row["scores"] == sorted(row["scores"], reverse=True)
        assert 1 <= len(row["neg"]) <= 4 and not set(row["neg"]) & set(row["pos"])
        assert set(row["neg"]) <= set(texts.values())


def test_report(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    report = json.loads((tmp_path / "train.report.json").read_text())
    assert report["queries"] == 20
    assert report["candidates per query"] == {"3": 20}
    assert 1 <= report["candidates rejected"] <= 20, "misleading ones"
    counts = report["winner against the query alone"]["BM25"]
    assert counts["better"] + counts["equal"] <= counts["of"] == 20
    assert len(report["winners"]) == 5 and report["winners"][0]["gain"] >= report["winners"][4]["gain"] > 0
    assert report["losers"][0]["gain"] < 0
    assert capsys.readouterr().out == (tmp_path / "train.report.md").read_text()


def test_a_finished_job_computes_nothing_again(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run() == 0
    first = (tmp_path / "train.jsonl").read_bytes()
    (tmp_path / "train.jsonl").unlink()
    monkeypatch.setattr(stages, "refine", None)
    monkeypatch.setattr(stages, "choose_negatives", None)
    assert run() == 0
    assert (tmp_path / "train.jsonl").read_bytes() == first


@pytest.mark.parametrize("stage", ["explore", "refine", "negatives"])
def test_cut_anywhere_and_run_again(run: Run, tmp_path: Path, stage: str, tiny_baseline: str) -> None:
    assert run("--members", "bm25", tiny_baseline) == 0
    whole = (tmp_path / "train.jsonl").read_bytes()
    path = tmp_path / "train.jsonl.stages" / "data" / f"{stage}.1of1.jsonl"
    content = path.read_bytes()
    for cut in (0, 10, len(content) // 3, len(content) - 1):
        path.write_bytes(content[:cut])
        (tmp_path / "train.jsonl").unlink()
        assert run("--members", "bm25", tiny_baseline) == 0
        assert (tmp_path / "train.jsonl").read_bytes() == whole
        assert path.read_bytes() == content, "and the journal is as if nothing had happened"


def test_shards_together_equal_one_run(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(output="one.jsonl") == 0
    for part in ("1/3", "3/3"):
        assert run("--shard", part, output="many.jsonl") == 0
        assert not (tmp_path / "many.jsonl").exists()
        assert "the last of the others" in capsys.readouterr().err
    assert run("--shard", "2/3", output="many.jsonl") == 0
    assert (tmp_path / "many.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()


def test_a_stage_that_was_removed_is_done_anew_by_its_shards(run: Run, tmp_path: Path) -> None:
    for part in ("1/2", "2/2"):
        assert run("--shard", part) == 0
    whole = (tmp_path / "train.jsonl").read_bytes()
    for path in (tmp_path / "train.jsonl.stages" / "data").glob("refine.*.jsonl"):
        path.unlink()
    (tmp_path / "train.jsonl").unlink()
    assert run("--shard", "1/2") == 0
    assert not (tmp_path / "train.jsonl").exists()
    assert run("--shard", "2/2") == 0
    assert (tmp_path / "train.jsonl").read_bytes() == whole


def test_other_sharding_pays_for_nothing_twice(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("--shard", "1/2") == 0
    done = len(rows_of(tmp_path / "train.jsonl.stages" / "data" / "explore.1of2.jsonl")) - 1
    assert run() == 0
    assert len(rows_of(tmp_path / "train.jsonl.stages" / "data" / "explore.1of1.jsonl")) - 1 == 20 - done


def test_settings_may_not_change_under_a_journal(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    assert run("--refine.rule", "borda") == 2
    assert "other settings (rule)" in capsys.readouterr().err


def test_data_may_not_change_under_a_journal(run: Run, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    path = folder / "qrels" / "train.tsv"
    path.write_text(path.read_text().replace("q-bee4\tbee4", "q-bee4\tbee5"))
    assert run() == 2
    error = capsys.readouterr().err
    assert "'q-bee4' has other positives" in error and "remove refine.*.jsonl" in error


def test_queries_without_recorded_candidates_are_counted(run: Run, candidates: Path, tmp_path: Path) -> None:
    rows = rows_of(candidates)
    candidates.write_text("".join(json.dumps(row) + "\n" for row in rows[1:]))
    assert run() == 0
    assert len(rows_of(tmp_path / "train.jsonl")) == 19
    assert json.loads((tmp_path / "train.report.json").read_text())["skipped"] == {"no recorded candidates": 1}


def test_a_query_whose_candidates_all_fall_out_trains_without_a_thought(
    run: Run, candidates: Path, tmp_path: Path
) -> None:
    rows = rows_of(candidates)
    rows[0]["candidates"] = ["", "I'm sorry, I can't help with that.", "<emb>"]
    candidates.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run() == 0
    first = rows_of(tmp_path / "train.jsonl")[0]
    assert (first["thought"], first["thoughts"], first["scores"]) == ("", [], [])
    assert first["neg"]
    report = json.loads((tmp_path / "train.report.json").read_text())
    assert report["candidates per query"] == {"0": 1, "3": 19}
    assert report["candidates dropped"] == {"empty": 1, "refused": 1, "special tokens": 1}


def test_several_collections_in_one_file(run: Run, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    assert run("--data", str(folder), str(other)) == 0
    rows = rows_of(tmp_path / "train.jsonl")
    assert len(rows) == 40 and rows[:20] == rows[20:]
    assert json.loads((tmp_path / "train.report.json").read_text())["queries"] == 40


def test_candidates_of_another_data_set(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"query": "Who?", "candidates": ["Ada."]}) + "\n")
    assert run("--candidates", str(other)) == 2
    assert "belongs to another data set" in capsys.readouterr().err


def test_a_candidate_filed_under_another_query_is_noticed(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    path = tmp_path / "train.jsonl.stages" / "data" / "explore.1of1.jsonl"
    path.write_text(
        path.read_text().replace('"id": "q-bee4#0"', '"id": "q-x#0"').replace('"id": "q-bee1#0"', '"id": "q-bee4#0"')
    )
    (tmp_path / "train.jsonl.stages" / "data" / "refine.1of1.jsonl").unlink()
    assert run() == 2
    assert "has other query" in capsys.readouterr().err


def test_extractive_candidates_quote_the_positives(run: Run, tmp_path: Path) -> None:
    assert run("--expert", "extractive", "--number", "1", "--refine.reject_worse", "false") == 0
    for row in rows_of(tmp_path / "train.jsonl"):
        assert row["thought"] in row["pos"][0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--expert", "recorded"], "needs --candidates"),
        (["--expert", "llm"], "needs --llm.model"),
        (["--expert", "local"], "needs --expert_model"),
        (["--expert", "oracle"], "must be recorded, llm, local"),
        (["--number", "0"], "--number must be at least 1"),
        (["--shard", "3/2"], "shard is written I/N"),
        (["--split", "test"], "splits here: ['train']"),
        (["--members", "bm25", "bm25"], "different names"),
        (["--members", "no/such/model"], "no/such/model"),
        (["--qrels", "x.tsv"], "Give --data FOLDER"),
        (["--batch", "0"], "--batch must be at least 1"),
        (["--candidates", "missing.jsonl"], "missing.jsonl"),
    ],
)
def test_bad_input(run: Run, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_three_files_equal_a_folder(run: Run, folder: Path, candidates: Path, tmp_path: Path) -> None:
    assert run() == 0
    files = ["--queries", f"{folder}/queries.jsonl", "--corpus", f"{folder}/corpus.jsonl"]
    files += ["--qrels", f"{folder}/qrels/train.tsv", "--output", str(tmp_path / "files.jsonl")]
    given = [*files, "--candidates", str(candidates), "--batch", "7", "--members", "bm25"]
    assert main(["synthesize", *given]) == 0
    assert (tmp_path / "files.jsonl").read_bytes() == (tmp_path / "train.jsonl").read_bytes()


def test_output_that_is_a_folder(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(output=".") == 2
    assert "is a folder" in capsys.readouterr().err


def test_two_runs_at_once(folder: Path, candidates: Path, tmp_path: Path) -> None:
    given = ["--data", str(folder), "--candidates", str(candidates), "--members", "bm25"]
    given += ["--output", str(tmp_path / "train.jsonl")]

    code = "import sys; from o1_retriever.cli import main; sys.exit(main(sys.argv[1:]))"
    original = RecordedExpert.explore

    def explore(self: RecordedExpert, *args: Any) -> Any:
        rival = subprocess.run(
            [sys.executable, "-c", code, "synthesize", *given], capture_output=True, text=True, check=False
        )
        assert rival.returncode == 2 and "Another process is writing" in rival.stderr
        yield from original(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RecordedExpert, "explore", explore)
        assert main(["synthesize", *given]) == 0


@pytest.mark.slow
def test_processes_share_the_work_side_by_side(
    run: Run, folder: Path, candidates: Path, tmp_path: Path, tiny_baseline: str
) -> None:
    assert run("--members", "bm25", tiny_baseline, output="one.jsonl") == 0
    given = ["--data", str(folder), "--candidates", str(candidates), "--batch", "7"]
    given += ["--members", "bm25", tiny_baseline, "--output", str(tmp_path / "many.jsonl")]
    code = "import sys; from o1_retriever.cli import main; sys.exit(main(sys.argv[1:]))"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, "synthesize", *given, "--shard", f"{part}/3"])
        for part in (1, 2, 3)
    ]
    assert [process.wait() for process in processes] == [0, 0, 0]
    many, one = rows_of(tmp_path / "many.jsonl"), rows_of(tmp_path / "one.jsonl")
    assert [row["thoughts"] for row in many] == [row["thoughts"] for row in one]
    assert [row["neg"] for row in many] == [row["neg"] for row in one]
