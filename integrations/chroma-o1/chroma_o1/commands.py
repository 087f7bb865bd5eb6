"""The verbs `o1 index` and `o1 search`. Imports models and Chroma only when they run, so that help is quick."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any, Literal

from jsonargparse import ArgumentParser, Namespace

from o1_retriever.cli import add_model_arguments, load_embedder
from o1_retriever.llm_arguments import add_llm_arguments, llm_thinker

if TYPE_CHECKING:
    from chroma_o1.passages import AddReport, Hit
    from o1_retriever import O1Embedder


def _add_store_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--store", type=str, required=True, help="folder of the store")
    parser.add_argument("--collection", type=str, default="o1-passages", help="name of the collection in the store")


class IndexCommand:
    """Reads files, embeds their passages and stores them; goes on where an interrupted run stopped."""

    help = "embed files and store them"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "paths", nargs="+", type=str, help="text, Markdown or JSONL files, BEIR folders, or folders of these"
        )
        _add_store_arguments(parser)
        parser.add_argument("--fast", action="store_true", help="compute in bfloat16 where the processor has it")
        add_model_arguments(parser)

    def run(self, args: Namespace) -> int:
        from chroma_o1.readers import read_paths
        from o1_retriever.config import EncodingConfig

        total = sum(1 for _ in read_paths(args.paths))  # also finds bad lines before anything is embedded
        embedder = load_embedder(args, encoding=EncodingConfig(precision="fast" if args.fast else "full"))
        from chroma_o1.store import O1ChromaStore

        start = time.perf_counter()
        with O1ChromaStore(embedder, path=args.store, collection=args.collection) as store:
            report = store.add(read_paths(args.paths), total=total)
            print(_summary(report, store.count(), time.perf_counter() - start))
        return 0


class SearchCommand:
    """Thinks about a question and prints the passages nearest to it."""

    help = "think about a question and find its passages in a store"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("question", type=str, help="what to look for")
        _add_store_arguments(parser)
        parser.add_argument("-k", "--hits", type=int, default=10, help="number of passages")
        parser.add_argument("--thoughts", type=int | None, default=None, help="number of thoughts; 0 does not think")
        parser.add_argument(
            "--mode",
            type=Literal["dense", "lexical", "hybrid"],
            default="dense",
            help="by vectors, by words (BM25), or by both",
        )
        parser.add_argument(
            "--lexical-weight", type=float | None, default=None, help="of the words in a hybrid search (0.4; ranks: 1)"
        )
        parser.add_argument(
            "--fusion", type=Literal["scores", "reciprocal_rank"], default="scores", help="of a hybrid search"
        )
        parser.add_argument("--json", action="store_true", help="print JSON")
        add_model_arguments(parser)
        add_llm_arguments(parser)

    def run(self, args: Namespace) -> int:
        thinker = llm_thinker(args)
        with thinker or contextlib.nullcontext():
            return _search(args, load_embedder(args, thinker=thinker))


def _search(args: Namespace, embedder: O1Embedder) -> int:
    from chroma_o1.store import O1ChromaStore

    with O1ChromaStore(embedder, path=args.store, collection=args.collection, create=False) as store:
        start = time.perf_counter()
        query: Any = args.question
        thoughts: list[str] = []
        if args.mode != "lexical":
            encoding = embedder.encode_query(args.question, args.thoughts, return_thoughts=True)
            query, thoughts = encoding.vectors[0], encoding.thoughts[0]
            if encoding.degraded[0]:
                print("o1: the language model was not available: searched without thoughts", file=sys.stderr)
        hits = store.search(
            query,
            args.hits,
            mode=args.mode,
            lexical_weight=args.lexical_weight,
            fusion=args.fusion,
            lexical_query=args.question,
        )
        seconds = time.perf_counter() - start
    if args.json:
        print(json.dumps(_as_json(args.question, thoughts, hits, seconds), ensure_ascii=False, indent=2))
    else:
        print(_as_text(thoughts, hits, seconds))
    return 0


def _summary(report: AddReport, count: int, seconds: float) -> str:
    rate = report.added / seconds if seconds else 0.0
    return (
        f"{report.added:,} passages added, {report.present:,} already there, {report.empty:,} skipped (empty); "
        f"{count:,} in the store; {seconds:.1f} s, {rate:.0f} passages/s"
    )


def _as_json(question: str, thoughts: list[str], hits: list[Hit], seconds: float) -> dict[str, Any]:
    rows = [{"id": h.id, "score": h.score, "title": h.title, "text": h.text, "metadata": h.metadata} for h in hits]
    return {"query": question, "thoughts": thoughts, "hits": rows, "seconds": seconds}


def _as_text(thoughts: list[str], hits: list[Hit], seconds: float) -> str:
    lines = [f"thought {number}: {thought}" for number, thought in enumerate(thoughts, start=1)]
    for number, hit in enumerate(hits, start=1):
        name = hit.title or hit.metadata.get("source_id", hit.id)
        lines += ["", f"{number:>2}. {hit.score:.4f}  {name}", f"    {hit.text}"]
    lines += ["" if hits else "No passage was found.", f"{len(hits)} passages in {seconds:.2f} s"]
    encoding = sys.stdout.encoding or "utf-8"
    return "\n".join(lines).encode(encoding, errors="replace").decode(encoding)
