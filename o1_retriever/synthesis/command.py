"""`o1 synthesize`: from queries, passages and judgements to a training file. `parts.py` builds, `pipeline.py` runs."""

from __future__ import annotations

import sys
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from o1_retriever.llm_arguments import add_llm_arguments
from o1_retriever.synthesis.config import NegativesConfig, RefineConfig


class SynthesizeCommand:
    """Explores thoughts, refines them by a committee, mines hard negatives, writes training rows."""

    help = "make training data: thoughts explored by an expert, chosen by a committee, with hard negatives"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--config", action="config", help="YAML file with any of these")
        _add_data(parser)
        _add_expert(parser)
        _add_committee(parser)
        parser.add_argument("--output", type=str, required=True, help="training file; stages are kept beside it")
        parser.add_argument("--shard", type=str, default="1/1", help="I/N: this process does part I of N")
        parser.add_argument("--batch", type=int, default=64, help="queries judged together")

    def run(self, args: Namespace) -> int:
        # imported here, so that help is quick
        from o1_retriever.synthesis import parts, pipeline

        if pipeline.run(parts.make_synthesis(args)) is None:
            print("This shard is done; the last of the others writes the training file.", file=sys.stderr)
        else:
            print(Path(args.output).with_suffix(".report.md").read_text(encoding="utf-8"), end="")
        return 0


def _add_data(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=str, nargs="+", default=None, help="folders in BEIR form, each searched by itself"
    )
    parser.add_argument("--split", type=str, default="train", help="of the judgements in --data")
    parser.add_argument("--queries", type=str | None, default=None, help="JSONL: _id, text")
    parser.add_argument("--corpus", type=str | None, default=None, help="JSONL: _id, title, text")
    parser.add_argument("--qrels", type=str | None, default=None, help="TSV: query-id, corpus-id, score")


def _add_expert(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--expert",
        type=str,
        default="recorded",
        help="recorded (--candidates FILE), llm (an OpenAI-compatible endpoint), local (a chat model of transformers, "
        "--expert_model), extractive (sentences of the positives), own (an O1 Embedder's thoughts, --expert_model)",
    )
    parser.add_argument("--number", type=int, default=3, help="candidates per query")
    parser.add_argument("--candidates", type=str | None, default=None, help="JSONL: query, candidates")
    parser.add_argument("--expert_model", type=str | None, default=None, help="folder or hub id")
    add_llm_arguments(parser)


def _add_committee(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--members",
        type=str,
        nargs="+",
        default=["bm25", "all-MiniLM-L6-v2"],
        help="bm25, o1:NAME (an O1 Embedder), or a sentence-transformers model",
    )
    parser.add_argument("--fast", action="store_true", help="bfloat16 for O1 members where the processor has it")
    parser.add_argument("--vectors", type=str | None, default=None, help="folder for vectors; by default beside OUTPUT")
    parser.add_class_arguments(RefineConfig, "refine")
    parser.add_class_arguments(NegativesConfig, "negatives")
