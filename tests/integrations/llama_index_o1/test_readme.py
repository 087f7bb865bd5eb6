"""The README's examples run as they stand, with the bundled model; its tables name the settings."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

from llama_index.embeddings.o1 import O1Embedding
from llama_index.retrievers.o1 import O1Retriever

README = Path(__file__).parents[3] / "integrations/llama-index-o1/README.md"


def test_the_examples_run(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 3
    script = tmp_path / "examples.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "Bees dance to show where flowers are." in run.stdout
    assert "text text text" in run.stdout  # MockLLM's thoughts
    assert re.search(r"How do insects tell the way to food\?: \[.*\] \(\d+\.\d\d s\)", run.stdout)


def settings_in(title: str) -> set[str]:
    """The names in the first column of the table under a heading."""
    section = README.read_text(encoding="utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]
    return {name for row in re.findall(r"^\| (.*?) \|", section, re.MULTILINE) for name in re.findall("`(.+?)`", row)}


def test_the_tables_name_the_settings() -> None:
    fields = set(O1Embedding.model_fields) - {"callback_manager", "num_workers", "rate_limiter"}
    assert settings_in("Settings of `O1Embedding`") == fields
    arguments = set(inspect.signature(O1Retriever).parameters)
    assert settings_in("Settings of `O1Retriever`") == arguments - {
        "callback_manager",
        "object_map",
        "objects",
        "verbose",
    }
