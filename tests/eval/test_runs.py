"""Run files as other tools read them."""

from __future__ import annotations

from pathlib import Path

import ir_measures
import numpy as np
import pytest

from o1_eval.runs import write_run
from o1_retriever.errors import StorageError


def test_the_format(tmp_path: Path) -> None:
    write_run(tmp_path / "x.trec", {"q1": {"b": 0.5, "a": 1.5}, "q2": {"c": 1.0}}, "system")
    assert (tmp_path / "x.trec").read_text() == "q1 Q0 a 1 1.5 system\nq1 Q0 b 2 0.5 system\nq2 Q0 c 1 1 system\n"
    assert [path.name for path in tmp_path.iterdir()] == ["x.trec"]


def test_scores_survive_to_the_last_digit(tmp_path: Path) -> None:
    scores = {"a": float(np.float32(0.1)), "b": float(np.nextafter(np.float32(0.1), np.float32(1)))}
    write_run(tmp_path / "x.trec", {"q": scores}, "t")
    read = {row.doc_id: np.float32(row.score) for row in ir_measures.read_trec_run(str(tmp_path / "x.trec"))}
    assert read == {passage: np.float32(score) for passage, score in scores.items()}
    assert read["b"] > read["a"]


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"none/x\.trec"):
        write_run(tmp_path / "none" / "x.trec", {}, "t")
