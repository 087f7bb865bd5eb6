"""The README's examples run as they stand, one after the other; its tables name every setting."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from chroma_o1 import O1ChromaStore, O1EmbeddingFunction

README = Path(__file__).resolve().parents[3] / "integrations/chroma-o1/README.md"


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    for code in blocks:
        exec(compile(code, str(README), "exec"), names)
    said = capsys.readouterr().out.splitlines()
    assert len(blocks) == 5
    assert said[0] == "AddReport(added=2, present=0, empty=0)"
    assert "Ada Lovelace: Ada Lovelace wrote the first program." in said[1]
    assert [hit.title for hit in names["by_words"]] == ["Bees"]
    assert names["by_ranks"][0].title == "Bees" and "Bees" in said
    assert "0" in said and "[['Ada Lovelace wrote the first program.']]" in said


@pytest.mark.parametrize("called", [O1ChromaStore, O1ChromaStore.search, O1EmbeddingFunction])
def test_the_tables_name_every_setting(called: Any) -> None:
    heading = {O1ChromaStore.search: "search"}.get(called, called.__name__)
    table = README.read_text(encoding="utf-8").partition(f"| `{heading}`")[2].partition("\n\n")[0]
    first_cells = re.findall(r"^\| (.*?) \|", table, re.MULTILINE)
    named = {name for cell in first_cells for name in re.findall("`(.+?)`", cell)}
    settings = set(inspect.signature(called).parameters) - {"self", "query"}
    assert named - {"lexical_queries"} == settings
