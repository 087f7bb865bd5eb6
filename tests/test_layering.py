"""Dependencies point one way: demos, evaluation, integrations, engine; and `llama_index` stays a shared namespace."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FRAMEWORKS = ("llama_index", "langchain", "chromadb", "ragas")

# Our packages: the folder of the code, and which other packages of ours it may import.
INTEGRATIONS = {
    "chroma_o1": "integrations/chroma-o1/chroma_o1",
    "langchain_o1": "integrations/langchain-o1/langchain_o1",
    "llama_index.embeddings.o1": "integrations/llama-index-o1/llama_index/embeddings/o1",
    "llama_index.retrievers.o1": "integrations/llama-index-o1/llama_index/retrievers/o1",
}
FOLDERS = {
    "o1_embedder_22m": "models/o1-embedder-22m/o1_embedder_22m",
    "o1_retriever": "o1_retriever",
    **INTEGRATIONS,
    "o1_eval": "eval/o1_eval",
    "demos": "demos",
    "benchmarks": "benchmarks",
    "examples": "examples",
    "tests": "tests",
}
LIBRARIES = {"o1_retriever", *INTEGRATIONS}
MAY_IMPORT: dict[str, set[str]] = {
    "o1_embedder_22m": set(),
    "o1_retriever": set(),
    # An integration that needs another one (in the same distribution, say) is named here, one by one.
    **{integration: {"o1_retriever"} for integration in INTEGRATIONS},
    # they ask the stamp of Chroma collections, where chroma-o1 is installed
    "langchain_o1": {"o1_retriever", "chroma_o1"},
    "llama_index.retrievers.o1": {"o1_retriever", "llama_index.embeddings.o1", "chroma_o1"},
    "o1_eval": LIBRARIES,
    "demos": LIBRARIES | {"o1_eval"},
    "benchmarks": LIBRARIES | {"o1_eval"},
    "examples": LIBRARIES,
}

IMPORT_EVERYTHING = """
import importlib, pkgutil, sys
import o1_retriever

for module in pkgutil.walk_packages(o1_retriever.__path__, "o1_retriever."):
    if module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        if error.name not in {"accelerate", "bm25s", "fastapi", "openai", "sentence_transformers", "uvicorn"}:
            raise
print("\\n".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a file imports from elsewhere, also inside of functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def owner(name: str) -> str | None:
    """Which of our packages an imported name belongs to."""
    return next((package for package in FOLDERS if f"{name}.".startswith(f"{package}.")), None)


def test_the_engine_loads_no_framework() -> None:
    run = subprocess.run([sys.executable, "-c", IMPORT_EVERYTHING], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    loaded = [name for name in run.stdout.split() if name.startswith(FRAMEWORKS)]
    assert not loaded, f"importing o1_retriever loads {loaded}"


def test_the_engine_names_no_framework() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in (ROOT / "o1_retriever").rglob("*.py")
        for line, name in imports(path)
        if name.startswith(FRAMEWORKS)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_downwards(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package}
    found = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in (ROOT / FOLDERS[package]).rglob("*.py")
        for line, name in imports(path)
        if (owner(name) or package) not in allowed
    ]
    assert not found, "\n".join(found)


def test_every_integration_is_known_here() -> None:
    """A new integration joins the rule above."""
    known = {Path(folder).parts[1] for folder in INTEGRATIONS.values()}
    assert {path.parent.name for path in (ROOT / "integrations").glob("*/pyproject.toml")} <= known


def test_llama_index_stays_a_namespace() -> None:
    top = ROOT / "integrations/llama-index-o1/llama_index"
    folders = [top, *(folder for folder in top.iterdir() if folder.is_dir() and folder.name != "__pycache__")]
    assert len(folders) > 1
    assert not [folder for folder in folders if (folder / "__init__.py").exists()]


def test_llama_index_and_its_o1_part_import_together() -> None:
    code = "import llama_index.core, llama_index.embeddings.o1"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / "tests")
    assert run.returncode == 0, run.stderr
