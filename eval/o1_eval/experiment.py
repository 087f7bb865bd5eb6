"""The retrieval experiment from its parts: runs the systems, scores them, and says how it was done."""

from __future__ import annotations

import platform
from importlib.metadata import version

import torch

import o1_retriever
from o1_eval.report import Report
from o1_eval.retrieval import Labels, Material, RetrievalConfig, compare, covered_ids
from o1_eval.tables import index_rows, make_tables
from o1_retriever import O1Embedder, lexical
from o1_retriever.config import ThinkingConfig
from o1_retriever.encoders import baseline_name, compute_precision

NOTES = [
    "nDCG@10 and R@10 by ir-measures; all@5: share of the queries with every relevant passage among the first 5. "
    "Queries/s: thinking, embedding and search of all the system's queries together, not indexing; recorded thoughts "
    "are read, not written, so theirs has no thinking in it. Speeds of vectors found in the cache are those of the run "
    "that made them. p: two-sided paired randomisation test on nDCG@10, 10,000 permutations, seed 0, not corrected for "
    "several comparisons."
]


def run_retrieval(config: RetrievalConfig, material: Material, embedder: O1Embedder, command_line: str) -> Report:
    """Runs every system and scores it.

    Args:
        config: what is compared.
        material: data and recorded thoughts, as `Material.read` gave them.
        embedder: the O1 model, without an external thinker.
        command_line: for the report.

    Raises:
        O1Error: a model, the disk or a thinker fails; finished chunks of vectors are kept for the next run.
    """
    labels = Labels(config.model, baseline_name(config.baseline))
    outcomes = compare(config, material, embedder, labels)
    return Report(
        title=f"Retrieval: {material.collection.name}, {config.split}",
        facts=_facts(config, material, embedder, labels, command_line),
        tables=make_tables(outcomes, material.collection.qrels, covered_ids(material), labels),
        indexes=index_rows(outcomes, len(material.collection.passages)),
        notes=NOTES,
        runs={outcome.label: outcome.run for outcome in outcomes},
    )


def _facts(
    config: RetrievalConfig, material: Material, embedder: O1Embedder, labels: Labels, command_line: str
) -> dict[str, str]:
    collection = material.collection
    facts = {
        "data": f"{collection.name}, split {collection.split}",
        "queries": str(len(collection.queries)),
        "passages": f"{len(collection.passages)}, title and text, the same for every system",
        "model": f"{labels.model}, passage fingerprint {embedder.passage_fingerprint}",
        "passage length": f"{embedder.max_passage_tokens} tokens at most",
        "thinking": _thinking(embedder.config.thinking),
        "computed": f"on {embedder.device} in {compute_precision(embedder)}, {torch.get_num_threads()} threads",
        "baseline": f"{labels.baseline}, sentence-transformers' defaults, cosine similarity",
        "BM25": lexical.DESCRIPTION,
    }
    if config.recorded is not None and material.covered is not None:
        facts["recorded thoughts"] = f"{config.recorded.name}, for {len(material.covered.queries)} of the queries"
    facts["versions"] = _versions()
    facts["command"] = f"`{command_line}`"
    return facts


def _versions() -> str:
    others = ("torch", "transformers", "sentence-transformers", "bm25s", "ir-measures")
    own = [f"o1-retriever {o1_retriever.__version__}", f"Python {platform.python_version()}"]
    return ", ".join([*own, *(f"{name} {version(name)}" for name in others)])


def _thinking(thinking: ThinkingConfig) -> str:
    return (
        f"temperature {thinking.temperature}, top-p {thinking.top_p}, top-k {thinking.top_k or 'off'}, "
        f"at most {thinking.max_new_tokens} tokens, seed {thinking.seed}"
    )
