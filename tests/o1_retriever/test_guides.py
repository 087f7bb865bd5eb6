"""The guides' examples run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_serving_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "serving.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "serving.md", "exec"), names)
    remembering, encoding = names["remembering"], names["encoding"]
    query = "Who was the first programmer?"
    assert remembering.think(query) == encoding.thoughts[0] == remembering.think(query)  # type: ignore[attr-defined]
    assert (tmp_path / "thoughts.sqlite").is_file()
