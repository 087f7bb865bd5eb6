"""`python -m benchmarks.frameworks recall|thoughts|throughput`: LlamaIndex, LangChain and Chroma with the same vectors.

`recall` and `thoughts` read a folder of data sets in BEIR form (`--data`, or O1_DATA). Passages are encoded once into
`--cache` and handed to the stores as they are; filled stores are kept there too. A run that was stopped goes on where
it was. Exits 1 if a target is missed, 2 on errors that can be mended.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from benchmarks.__main__ import QUERIES
from benchmarks.frameworks import material, recall, thoughts, throughput
from o1_eval.collection import Collection
from o1_retriever import RecordedThoughts
from o1_retriever.bundled import DEFAULT_MODEL
from o1_retriever.errors import InvalidInputError, O1Error

SPLIT = "dev"


def run_recall(args: argparse.Namespace) -> bool:
    collection = material.read(_data(args) / args.dataset, SPLIT, args.passages, args.questions)
    searched = _embedded(collection, args)
    return recall.show(recall.run(searched, args.callers))


def run_thoughts(args: argparse.Namespace) -> bool:
    recorded, met = RecordedThoughts.from_file(args.recorded), True
    for name in args.datasets:
        whole = material.read(_data(args) / name, SPLIT).covered(recorded, args.recorded)
        collection = material.shorten(whole, args.passages, args.questions)
        for comparison in thoughts.run(_embedded(collection, args), recorded, args.callers):
            thoughts.show(comparison)
            met = met and comparison.met
    return met


def run_throughput(args: argparse.Namespace) -> bool:
    collection = material.read(QUERIES.parent, "test", args.passages)
    searched = _embedded(collection, args)
    questions = [collection.queries[number % len(collection.queries)] for number in range(args.questions)]
    with throughput.frameworks(searched) as asks:
        throughput.show(throughput.measure(asks, questions, args.rounds), len(questions))
    return True


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.frameworks", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    found = _verb(verbs, "recall", "recall@10 against exact search", questions=200)
    found.add_argument("--dataset", default="hotpotqa", help="folder below --data")
    compared = _verb(verbs, "thoughts", "recorded thoughts against HyDE with the same texts", questions=None)
    compared.add_argument("--datasets", nargs="+", default=["hotpotqa", "nq"], help="folders below --data")
    compared.add_argument("--recorded", type=Path, required=True, help="JSONL file of thoughts, three for a question")
    for verb in (found, compared):
        verb.add_argument("--data", default=os.environ.get("O1_DATA"), help="folder of data sets; default: O1_DATA")
        verb.add_argument("--callers", type=int, default=8, help="threads that ask side by side")
    timed = _verb(verbs, "throughput", "queries per second of 1, 4 and 16 callers on the demo's corpus", questions=16)
    timed.add_argument("--rounds", type=int, default=2, help="turns of each framework and number of callers")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse(arguments)
    transformers_logging.disable_progress_bar()
    run = {"recall": run_recall, "thoughts": run_thoughts, "throughput": run_throughput}[args.verb]
    try:
        return 0 if run(args) else 1
    except O1Error as error:
        print(f"benchmarks.frameworks: error: {error}", file=sys.stderr)
        return 2


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, told: str, questions: int | None
) -> argparse.ArgumentParser:
    """A verb with the arguments that all of them have."""
    verb = verbs.add_parser(name, help=told, description=told)
    every = "all" if questions is None else str(questions)
    verb.add_argument("--questions", type=int, default=questions, help=f"asked; default: {every}")
    verb.add_argument("--passages", type=int, default=None, help="searched, with all judged ones; default: all")
    verb.add_argument("--model", default=DEFAULT_MODEL, help="bundled model, folder or hub id")
    verb.add_argument("--cache", type=Path, default=Path(".bench-cache"), help="folder for vectors and stores")
    verb.add_argument("--fast", action="store_true", help="encode passages in bfloat16 where the processor has it")
    return verb


def _data(args: argparse.Namespace) -> Path:
    if not args.data:
        raise InvalidInputError("Say where the data is: --data FOLDER, or O1_DATA in the environment.")
    return Path(args.data)


def _embedded(collection: Collection, args: argparse.Namespace) -> material.Material:
    """The collection with its vectors; says what is measured."""
    searched = material.embed(collection, args.model, args.cache, args.fast)
    embedder = searched.embedder
    print(
        f"\n{collection.name} {collection.split}: {len(collection.queries)} questions, {len(collection.passages)} "
        f"passages; {args.model} in {embedder.model.dtype} on {embedder.device}, passages encoded in "
        f"{'fast' if args.fast else 'full'} precision; {torch.get_num_threads()} threads of torch {torch.__version__}"
    )
    return searched


if __name__ == "__main__":
    sys.exit(main())
