"""The README's examples run as they stand, one after the other; the table of settings names the real ones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from langchain_o1 import O1Embeddings, O1Retriever

README = Path(__file__).resolve().parents[3] / "integrations/langchain-o1/README.md"


def blocks() -> list[str]:
    found = re.findall(
        r"^( *)```python\n(.*?)^ *```$", README.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    return [re.sub(f"^{indent}", "", code, flags=re.MULTILINE) for indent, code in found]


def test_the_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    runnable = [code for code in blocks() if "langchain_openai" not in code]  # that one needs a key
    for code in runnable:
        exec(compile(code, str(README), "exec"), names)
    assert len(runnable) == 5
    assert "Bees dance" in capsys.readouterr().out


def test_the_tables_name_the_settings() -> None:
    text = README.read_text(encoding="utf-8")
    for kind in (O1Embeddings, O1Retriever):
        section = text.partition(f"## {kind.__name__}\n")[2].partition("\n## ")[0]
        named = {
            name for row in re.findall(r"^\| (.*?) \|", section, re.MULTILINE) for name in re.findall("`(.+?)`", row)
        }
        inherited = {"name", "tags", "metadata"}
        assert named == set(kind.model_fields) - inherited
