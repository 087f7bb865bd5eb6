"""Recall against exact search: whole where the frameworks do what they should, and less where they do not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.frameworks import recall
from benchmarks.frameworks.__main__ import main
from benchmarks.frameworks.material import Material
from benchmarks.frameworks.recall import FRAMEWORKS, Finder, Row, run, show


def test_every_framework_finds_what_exact_search_finds(
    data: Path, tiny_folder: str, material: Material, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--data", str(data), "--model", tiny_folder, "--cache", str(material.cache), "--questions", "3"]
    assert main(["recall", *given]) == 0
    told = capsys.readouterr().out
    assert "3 questions, 30 passages" in told
    for name in FRAMEWORKS:
        assert f"{name:<22}    1.0000" in told
        assert f"{name}: HNSW space=cosine" in told and "ef_search=256" in told


def test_what_is_not_found_counts(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    """A framework that finds the wrong passages in half of the places."""

    @contextmanager
    def half(given: Material) -> Iterator[Finder]:
        with FRAMEWORKS["O1ChromaStore"](given) as finder:
            yield Finder(lambda question: [*finder.find(question)[:5], "x", "y"], finder.hnsw)

    monkeypatch.setattr(recall, "FRAMEWORKS", {"O1ChromaStore": FRAMEWORKS["O1ChromaStore"], "half": half})
    whole, partly = run(material, callers=2)
    assert whole.recall == 1 and partly.recalls == [0.5] * 4


def test_one_framework_below_the_target_is_a_failure() -> None:
    hnsw: dict[str, Any] = {"space": "cosine"}
    good, bad = Row("good", [1.0, 0.98], hnsw, 1.0), Row("bad", [1.0, 0.97], hnsw, 1.0)
    assert show([good]) and not show([good, bad])


def test_errors_are_told_in_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("O1_DATA", raising=False)
    assert main(["recall"]) == 2
    assert "O1_DATA" in capsys.readouterr().err
