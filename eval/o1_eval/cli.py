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
    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it turns its own debugging messages on
    given = sys.argv[1:] if arguments is None else arguments
    parser = ArgumentParser(prog="o1-eval", description="Evaluation of o1-retriever on judged collections.")
    verbs = parser.add_subcommands(dest="verb")
    verbs.add_subcommand("retrieval", _retrieval_parser(), help="compare the model with BM25 and a baseline")
    args = parser.parse_args(given)
    try:
        _retrieval(args.retrieval, shlex.join(["o1-eval", *given]))
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
    parser.add_argument("--fast", action="store_true", help="bfloat16 for the model where the processor has it")
    parser.add_argument("--out", type=str, required=True, help="folder for results.json, results.md and runs/")
    parser.add_argument("--cache", type=str | None, default=None, help="folder for vectors; OUT/cache")
    add_model_arguments(parser)
    return parser


def _retrieval(args: Namespace, command_line: str) -> None:
    # imported here, so that help is quick
    from o1_eval.experiment import run_retrieval
    from o1_eval.report import to_markdown, write_report
    from o1_eval.retrieval import Material, RetrievalConfig
    from o1_eval.storage import make_folder
    from o1_retriever.config import EncodingConfig

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


if __name__ == "__main__":
    sys.exit(main())
