"""`make bench`: the engine against plain paths, both sides in one run, taking turns. Exits 1 if a target is missed."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from benchmarks import passages, thinking
from benchmarks.timing import Ratio
from o1_retriever import O1Embedder

QUERIES = Path(__file__).resolve().parents[1] / "demos" / "corpus" / "queries.jsonl"


def show(ratios: list[Ratio]) -> bool:
    """Prints a table; returns whether every target is met."""
    print(f"\n{'case':<42}{'plain s':>9}{'ours s':>9}{'ratio':>8}{'target':>8}")
    for r in ratios:
        print(f"{r.name:<42}{r.reference_s:>9.3f}{r.ours_s:>9.3f}{r.ratio:>8.2f}{r.target:>8.1f}")
    return all(r.ratio >= r.target for r in ratios)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side per case")
    parser.add_argument("--passages", type=int, default=512, help="texts in the passage benchmark")
    args = parser.parse_args()
    transformers_logging.disable_progress_bar()
    embedder = O1Embedder.from_pretrained(device="cpu", dtype=torch.float32)
    questions = [json.loads(line)["text"] for line in QUERIES.read_text(encoding="utf-8").split("\n") if line]
    threads = torch.get_num_threads()
    print(f"float32 ({torch.get_float32_matmul_precision()} matmul), {threads} threads, torch {torch.__version__}")
    ratios = thinking.run(embedder, questions, args.rounds)
    encoded, cosine = passages.run(embedder, args.passages, args.rounds)
    met = show([*ratios, *encoded])
    print(f"\nlowest cosine between fast precision and float32: {cosine:.5f} (target 0.999)")
    return 0 if met and cosine >= 0.999 else 1


if __name__ == "__main__":
    sys.exit(main())
