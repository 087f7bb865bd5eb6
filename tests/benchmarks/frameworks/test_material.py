"""Questions and passages that belong together, and vectors that are made once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.frameworks.material import Material, embed, read
from o1_retriever import O1Embedder
from o1_retriever.errors import DatasetError


def test_a_part_keeps_what_is_judged_in_the_order_of_the_corpus(data: Path) -> None:
    part = read(data / "hotpotqa", "dev", passages=6, questions=2)
    assert part.query_ids == ["q0", "q1"]
    assert part.passage_ids == ["p0", "p1", "p2", "p3", "p6", "p7"]
    assert part.passages[4].startswith("Title 6 a bee")
    assert read(data / "hotpotqa", "dev", passages=1, questions=2).passage_ids == ["p0", "p1", "p6", "p7"]


def test_passages_of_equal_text_are_refused(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "hotpotqa", tmp_path / "twice")
    corpus = tmp_path / "twice" / "corpus.jsonl"
    row = json.loads(corpus.read_text(encoding="utf-8").split("\n")[0])
    with corpus.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**row, "_id": "another"}) + "\n")
    with pytest.raises(DatasetError, match="equal text"):
        read(tmp_path / "twice", "dev")


def test_vectors_are_made_once(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        pytest.fail("encoded again")

    monkeypatch.setattr(O1Embedder, "encode_document", refuse)
    again = embed(material.collection, material.model, material.cache, fast=False)
    np.testing.assert_array_equal(again.vectors, material.vectors)
    assert again.key == material.key


def test_windows_are_all_passages_with_their_vectors(material: Material) -> None:
    (window,) = material.windows("all")
    assert window.ids == material.collection.passage_ids
    expected = material.embedder.encode_document(window.texts)
    np.testing.assert_allclose(window.vectors, expected, atol=1e-5)
