"""`o1-eval committee`: choices by hand-made opinions, and the command from end to end with tiny models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from o1_eval.cli import main
from o1_eval.committee import Judged, agreement, systems, together
from o1_eval.committee_report import lines
from o1_retriever.synthesis.refine import Opinion


def opinion(similarity: list[float], rank: list[float], alone: float) -> Opinion:
    return Opinion({"similarity": similarity, "rank": rank, "margin": rank}, {"rank": alone, "margin": alone})


@pytest.fixture
def judged() -> Judged:
    """Two queries with two candidates: similarity is wrong about both, utility right; the second query needs none."""
    return Judged(
        name="little",
        query_ids=["q1", "q2"],
        opinions=[{"m": opinion([0.9, 0.1], [0.2, 1.0], 0.5)}, {"m": opinion([0.1, 0.9], [0.4, 0.3], 0.5)}],
        alone=np.array([0.4, 0.8]),
        single=np.array([[0.2, 1.0], [0.6, 0.5]]),
        pooled=np.array([0.9, 0.7]),
    )


def test_systems_by_hand(judged: Judged) -> None:
    values = {label: scores.tolist() for label, scores in systems(judged)}
    assert values["query alone"] == [0.4, 0.8]
    assert values["query + candidate 2"] == [1.0, 0.5]
    assert values["query + a random candidate (expected)"] == [0.6, 0.55]
    assert values["query + choice by similarity (majority)"] == [0.2, 0.5]
    assert values["query + choice by rank (majority)"] == [1.0, 0.6]
    assert values["the same, without candidates that rank worse than no thought (rank)"] == [1.0, 0.8]
    assert values["query + the best in hindsight"] == [1.0, 0.6]


def test_differences_by_hand(judged: Judged) -> None:
    found = {line.system: line for line in lines(judged)}
    alone = found["query alone"]
    assert alone.to_alone is None and alone.to_random is None
    pooled = found["all candidates pooled"]
    assert pooled.ndcg == pytest.approx(0.8)
    assert pooled.to_alone is not None and pooled.to_alone.mean == pytest.approx(0.2)
    assert pooled.to_alone.low == pytest.approx(-0.1) and pooled.to_alone.high == pytest.approx(0.5)
    assert pooled.to_random is not None and pooled.to_random.mean == pytest.approx((0.3 + 0.15) / 2)


def test_agreement_has_the_sign_of_the_scores(judged: Judged) -> None:
    assert agreement(judged, "similarity") == pytest.approx(-1.0)
    assert agreement(judged, "rank") == pytest.approx(1.0)


def test_collections_together(judged: Judged) -> None:
    both = together([judged, judged])
    assert len(both.query_ids) == 4 and both.single.shape == (4, 2)
    assert both.choice("rank", "majority", reject=False).tolist() == [1.0, 0.6, 1.0, 0.6]


def test_the_command(
    data: Path,
    tmp_path: Path,
    tiny_folder: str,
    tiny_baseline: str,
    write_recorded: Callable[[Mapping[str, int]], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    recorded = write_recorded({"q1": 2, "q2": 2, "q4": 3})
    shutil.copytree(data, tmp_path / "copy")
    given = ["committee", "--data", str(data), str(tmp_path / "copy"), "--candidates", str(recorded), "--number", "2"]
    given += ["--members", "bm25", f"o1:{tiny_folder}", "--scored", tiny_baseline, "--out", str(tmp_path / "out")]
    assert main(given) == 0
    content = json.loads((tmp_path / "out" / "committee.json").read_text())
    assert set(content["results"]) == {"little", "copy", "all"}
    found = {line["system"]: line["ndcg"] for line in content["results"]["little"]}
    ends = found["query + the best in hindsight"], found["query + choice by rank (majority)"]
    assert 1 >= ends[0] >= ends[1] >= 0
    assert capsys.readouterr().out == (tmp_path / "out" / "committee.md").read_text()


def test_the_scored_retriever_has_no_vote_under_any_name(
    data: Path,
    tmp_path: Path,
    tiny_baseline: str,
    write_recorded: Callable[[Mapping[str, int]], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ["--data", str(data), "--candidates", str(write_recorded({"q1": 3})), "--out", str(tmp_path / "out")]
    alias = str(Path(tiny_baseline) / ".." / Path(tiny_baseline).name)
    assert main(["committee", *given, "--members", "bm25", alias, "--scored", tiny_baseline]) == 2
    assert "must not vote" in capsys.readouterr().err


def test_candidates_of_another_data_set(
    data: Path, tmp_path: Path, tiny_baseline: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"query": "Who?", "candidates": ["Ada."]}) + "\n")
    given = ["--data", str(data), "--candidates", str(other), "--number", "1", "--members", "bm25"]
    assert main(["committee", *given, "--scored", tiny_baseline, "--out", str(tmp_path / "out")]) == 2
    assert "for none of the 4 queries" in capsys.readouterr().err
