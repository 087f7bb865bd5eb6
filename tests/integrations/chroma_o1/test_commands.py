"""`o1 index` and `o1 search`, through the command line's own entrance."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chroma_o1.commands import IndexCommand, SearchCommand
from o1_retriever import O1Embedder, cli

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def o1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_folder: str) -> Run:
    """`o1(verb, ...)` runs a verb with the tiny model; gives exit status, stdout and stderr."""
    verbs = {"index": IndexCommand, "search": SearchCommand}
    entries = [SimpleNamespace(name=name, load=lambda verb=verb: verb) for name, verb in verbs.items()]
    monkeypatch.setattr(cli, "entry_points", lambda group: entries)

    def run(*arguments: object, model: str = tiny_folder) -> tuple[int, str, str]:
        status = cli.main([*map(str, arguments), "--model", model])
        return (status, *capsys.readouterr())

    return run


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    rows = [{"_id": f"d{i}", "title": f"Title {i}", "text": f"passage {i} <emb>"} for i in range(12)]
    rows += [rows[0], {"_id": "empty", "text": " "}]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_index_then_search(o1: Run, corpus: Path, tmp_path: Path, tiny: O1Embedder) -> None:
    store = tmp_path / "store"
    status, out, _ = o1("index", corpus, "--store", store)
    assert status == 0
    assert out.startswith("12 passages added, 1 already there, 1 skipped (empty); 12 in the store; ")
    assert out.rstrip().endswith("passages/s")
    status, out, _ = o1("index", corpus, "--store", store, "--fast")
    assert status == 0 and out.startswith("0 passages added, 13 already there")
    status, out, _ = o1("search", "passage 3", "--store", store, "-k", 4, "--thoughts", 2, "--json")
    answer = json.loads(out)
    assert status == 0 and answer["query"] == "passage 3" and answer["seconds"] > 0
    assert answer["thoughts"] == tiny.think("passage 3", 2)
    assert len(answer["hits"]) == 4
    scores = [hit["score"] for hit in answer["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert answer["hits"][0]["metadata"]["source_id"].startswith("d")
    status, text, _ = o1("search", "passage 3", "--store", store, "--hits", 2, "--thoughts", 2)
    assert status == 0 and "thought 2: " in text
    assert f" 1. {scores[0]:.4f}  {answer['hits'][0]['title']}\n    {answer['hits'][0]['text']}" in text
    status, text, _ = o1("search", "passage 3", "--store", store, "--thoughts", 0)
    assert status == 0 and "thought" not in text


def test_modes_of_searching(o1: Run, corpus: Path, tmp_path: Path) -> None:
    assert o1("index", corpus, "--store", tmp_path / "store")[0] == 0
    question = ("search", "title passage 11", "--store", tmp_path / "store", "--json")
    status, out, _ = o1(*question, "--mode", "lexical")
    answer = json.loads(out)
    assert status == 0 and answer["thoughts"] == [] and answer["hits"][0]["title"] == "Title 11"
    status, out, _ = o1(*question, "--mode", "hybrid", "--lexical-weight", 5, "--thoughts", 1)
    answer = json.loads(out)
    assert status == 0 and len(answer["thoughts"]) == 1
    assert answer["hits"][0]["title"] == "Title 11" and 4.0 <= answer["hits"][0]["score"] <= 6.0
    status, out, _ = o1(*question, "--mode", "hybrid", "--fusion", "reciprocal_rank")
    assert status == 0 and 1 / 200 < json.loads(out)["hits"][0]["score"] <= 2 / 61
    status, out, _ = o1("search", "zebra", "--store", tmp_path / "store", "--mode", "lexical")
    assert status == 0 and "No passage was found." in out


def test_a_language_model_thinks(
    o1: Run, corpus: Path, tmp_path: Path, chat_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thoughts are shown; without it the search goes on, and says so; a wrong key ends it."""
    monkeypatch.setenv("OPENAI_API_KEY", "right")
    server, store = chat_server(key="right"), tmp_path / "store"
    assert o1("index", corpus, "--store", store)[0] == 0
    question = ("search", "title passage 11", "--store", store, "--json", "--llm.model", "expert")
    once = ("--llm.attempts", 1)
    status, out, err = o1(*question, "--llm.base_url", server.url, "--thoughts", 2)
    assert status == 0 and err == "" and len(set(json.loads(out)["thoughts"])) == 2
    assert {seen.query for seen in server.seen} == {"title passage 11"}
    status, out, err = o1(*question, "--llm.base_url", "http://127.0.0.1:9/v1", *once)
    assert status == 0 and json.loads(out)["thoughts"] == [] and "searched without thoughts" in err
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    status, out, err = o1(*question, "--llm.base_url", server.url, *once)
    assert status == 2 and out == "" and err.startswith("o1: error: ")


def test_text_files_and_another_collection(o1: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("# Bees\n\nBees dance.\n\nThey make honey.")
    status, out, _ = o1("index", tmp_path / "notes.md", "--store", tmp_path / "s", "--collection", "notes")
    assert status == 0 and out.startswith("1 passages added")
    status, _, err = o1("search", "bees", "--store", tmp_path / "s")
    assert status == 2 and "it has: notes" in err
    status, out, _ = o1("search", "bees", "--store", tmp_path / "s", "--collection", "notes", "--thoughts", 0)
    assert status == 0 and "  Bees\n    # Bees" in out


def test_errors_are_one_line(o1: Run, corpus: Path, tmp_path: Path, make_embedder: Callable[..., O1Embedder]) -> None:
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{')
    other = tmp_path / "other"
    make_embedder("qwen2", True, 1).save_pretrained(other)
    store = tmp_path / "store"
    assert o1("index", corpus, "--store", store)[0] == 0
    cases = [
        (("search", "q", "--store", tmp_path / "none"), {}, "There is no store at"),
        (("index", tmp_path / "bad.jsonl", "--store", tmp_path / "new"), {}, "bad.jsonl:2: not JSON"),
        (("index", tmp_path / "none", "--store", tmp_path / "new"), {}, "does not exist"),
        (("index", corpus, "--store", tmp_path / "bad.jsonl"), {}, "is a file"),
        (("index", corpus, "--store", store, "--collection", "x"), {}, "3-512 characters"),
        (("search", "q", "--store", store), {"model": str(other)}, "vectors of another model"),
        (("search", " ", "--store", store), {}, "is empty"),
        (("search", "q", "--store", store, "-k", 0), {}, "k must be at least 1"),
        (("search", "q", "--store", store, "--thoughts", -1), {}, "at least 0"),
        (("search", "q", "--store", store, "--mode", "hybrid", "--lexical-weight", -1), {}, "lexical_weight must be"),
    ]
    for arguments, options, message in cases:
        status, _, err = o1(*arguments, **options)
        assert status == 2 and message in err, (arguments, err)
        assert err.strip().splitlines()[-1].startswith("o1: error: ") and "Traceback" not in err
    assert not (tmp_path / "none").exists() and not (tmp_path / "new").exists()


def test_commands_are_imported_without_chroma() -> None:
    code = "import sys, chroma_o1.commands; sys.exit('chromadb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
