"""The command `o1-eval`. Errors of ours become one line and exit status 2."""

from __future__ import annotations

import logging
import shlex
import sys
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from o1_retriever.cli import add_model_arguments, load_embedder
from o1_retriever.errors import O1Error


def main(arguments: list[str] | None = None) -> int:
    """Runs one verb; returns the exit status: 0, 2 for errors the user can mend, 130 after Ctrl-C."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    given = sys.argv[1:] if arguments is None else arguments
    parser = ArgumentParser(prog="o1-eval", description="Evaluation of o1-retriever on judged collections.")
    verbs = parser.add_subcommands(dest="verb")
    verbs.add_subcommand("retrieval", _retrieval_parser(), help="compare the model with BM25 and a baseline")
    verbs.add_subcommand("committee", _committee_parser(), help="does the vote on thoughts go with usefulness?")
    args = parser.parse_args(given)
    run = {"retrieval": _retrieval, "committee": _committee}[args.verb]
    try:
        run(args[args.verb], shlex.join(["o1-eval", *given]))
    except O1Error as error:
        print(f"o1-eval: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("o1-eval: stopped; run it again to go on, what was finished is kept", file=sys.stderr)
        return 130
    return 0


def _retrieval_parser() -> ArgumentParser:
    parser = ArgumentParser()
    parser.add_argument("--data", type=str, required=True, help="folder in BEIR form")
    parser.add_argument("--split", type=str, default="dev", help="of the judgements")
    parser.add_argument("--thoughts", type=int, nargs="+", default=[0, 3], help="numbers of thoughts per query")
    parser.add_argument("--recorded", type=str | None, default=None, help="JSONL file of recorded thoughts")
    parser.add_argument(
        "--baseline", type=str | None, default=None, help="sentence-transformers model; all-MiniLM-L6-v2"
    )
    parser.add_argument("--k", type=int, default=100, help="passages per query in the runs")
    parser.add_argument(
        "--fast", action="store_true", help="bfloat16 for model and baseline where the processor has it"
    )
    parser.add_argument("--out", type=str, required=True, help="folder for results.json, results.md and runs/")
    parser.add_argument("--cache", type=str | None, default=None, help="folder for vectors; OUT/cache")
    add_model_arguments(parser)
    return parser


def _retrieval(args: Namespace, command_line: str) -> None:
    # imported here, so that help is quick
    from o1_eval.experiment import run_retrieval
    from o1_eval.report import to_markdown, write_report
    from o1_eval.retrieval import Material, RetrievalConfig
    from o1_retriever.config import EncodingConfig
    from o1_retriever.storage import make_folder

    config = RetrievalConfig(
        data=Path(args.data),
        split=args.split,
        thoughts=tuple(args.thoughts),
        recorded=Path(args.recorded) if args.recorded else None,
        baseline=args.baseline,
        model=Path(args.model).resolve().name,
        k=args.k,
        cache=Path(args.cache) if args.cache else Path(args.out) / "cache",
    )
    out = make_folder(Path(args.out))
    material = Material.read(config)
    embedder = load_embedder(args, encoding=EncodingConfig(precision="fast" if args.fast else "full"))
    report = run_retrieval(config, material, embedder, command_line)
    write_report(report, out)
    print(to_markdown(report), end="")


def _committee_parser() -> ArgumentParser:
    parser = ArgumentParser()
    parser.add_argument("--data", type=str, nargs="+", required=True, help="folders in BEIR form")
    parser.add_argument("--split", type=str, default="dev", help="of the judgements")
    parser.add_argument("--candidates", type=str, required=True, help="JSONL: query, candidates")
    parser.add_argument("--number", type=int, default=3, help="candidates per query")
    parser.add_argument(
        "--members",
        type=str,
        nargs="+",
        default=["bm25", "o1:o1-embedder-22m"],
        help="who votes: bm25, o1:NAME, or a sentence-transformers model",
    )
    parser.add_argument("--scored", type=str, default="all-MiniLM-L6-v2", help="who is searched with and has no vote")
    parser.add_argument("--fast", action="store_true", help="bfloat16 for O1 members where the processor has it")
    parser.add_argument("--out", type=str, required=True, help="folder for committee.json and committee.md")
    parser.add_argument("--cache", type=str | None, default=None, help="folder for vectors; OUT/cache")
    return parser


def _committee(args: Namespace, command_line: str) -> None:
    from o1_eval import committee_report
    from o1_eval.collection import Collection
    from o1_eval.committee import Scored, judge, together
    from o1_retriever.checkpoint import default_device
    from o1_retriever.encoders import SentenceTransformerEncoder
    from o1_retriever.errors import InvalidInputError
    from o1_retriever.synthesis.committee import DenseMember
    from o1_retriever.synthesis.parts import make_members
    from o1_retriever.thinkers import RecordedThoughts
    from o1_retriever.vectors import VectorCache

    if len({Path(folder).resolve().name for folder in args.data}) < len(args.data):
        raise InvalidInputError(f"--data needs folders of different names, got {', '.join(args.data)}.")
    device = str(default_device())
    recorded = RecordedThoughts.from_file(Path(args.candidates))
    collections = [Collection.read(Path(folder), args.split) for folder in args.data]
    cache = VectorCache((Path(args.cache) if args.cache else Path(args.out) / "cache") / "passages")
    members = make_members(args.members, cache, fast=args.fast)
    scored = Scored(SentenceTransformerEncoder(args.scored, device), cache)
    voters = [member.encoder.passage_key for member in members if isinstance(member, DenseMember)]
    if scored.encoder.passage_key in voters:
        raise InvalidInputError(f"{args.scored} is scored, so it must not vote too: leave it out of --members.")
    parts = [judge(collection, recorded, args.number, members, scored) for collection in collections]
    facts = {
        "data": ", ".join(f"{c.name} {c.split} ({len(c.passages)} passages)" for c in collections),
        "candidates": f"{args.number} per query from {Path(args.candidates).name}",
        "members": ", ".join(member.name for member in members),
        "scored": f"{args.scored}, which does not vote",
        "tests": "95% paired bootstrap intervals, p by a paired randomisation test, 10,000 draws each, seed 0, not "
        "corrected for several comparisons",
        "command": f"`{command_line}`",
    }
    print(committee_report.write([*parts, together(parts)] if len(parts) > 1 else parts, facts, Path(args.out)), end="")


if __name__ == "__main__":
    sys.exit(main())
