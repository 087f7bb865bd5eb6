"""Builds a synthesis from what the command line says: data, expert, committee. Bad input stops it before any cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from o1_retriever.beir import Qrels, read_qrels, read_qrels_file
from o1_retriever.bundled import DEFAULT_MODEL
from o1_retriever.checkpoint import default_device
from o1_retriever.config import EncodingConfig
from o1_retriever.embedder import O1Embedder
from o1_retriever.encoders import SentenceTransformerEncoder
from o1_retriever.errors import InvalidInputError
from o1_retriever.llm_arguments import llm_thinker, task_of
from o1_retriever.synthesis.committee import DenseMember, LexicalMember, Member, o1_member
from o1_retriever.synthesis.config import NegativesConfig, RefineConfig
from o1_retriever.synthesis.corpus import CorpusFile
from o1_retriever.synthesis.experts import EvidenceExpert, Expert, OwnThoughts, RecordedExpert, ThinkerExpert
from o1_retriever.synthesis.pipeline import Job, Synthesis, stages_folder
from o1_retriever.synthesis.questions import Questions, Shard, read_questions
from o1_retriever.synthesis.screening import languages
from o1_retriever.synthesis.stages import Bench
from o1_retriever.thinkers import Thinker
from o1_retriever.vectors import VectorCache


def make_synthesis(args: Namespace) -> Synthesis:
    """Everything that a run needs; models are loaded, nothing is computed or asked yet.

    Raises:
        O1Error: data, settings or models cannot be used.
    """
    output, shard = Path(args.output), Shard.parse(args.shard)
    if output.is_dir():
        raise InvalidInputError(f"--output {output} is a folder: name a file, like {output / 'train.jsonl'}.")
    if args.batch < 1:
        raise InvalidInputError(f"--batch must be at least 1, got {args.batch}.")
    refine, negatives = _made(RefineConfig, args.refine), _made(NegativesConfig, args.negatives)
    languages("A missing library stops it now, not after the exploration.")
    collections = _collections(args)
    expert = make_expert(args)
    # processes that share the work by shard share the vectors too: one encodes, the others wait
    cache = VectorCache(Path(args.vectors) if args.vectors else stages_folder(output) / "vectors", wait=True)
    members = make_members(args.members, cache, fast=args.fast)
    jobs = []
    for name, (queries, qrels, corpus_path) in collections.items():
        corpus = CorpusFile(corpus_path)
        questions = _covered(read_questions(queries, qrels, corpus.row_of), expert)
        bench = Bench(corpus, members, args.batch)
        jobs.append(Job(stages_folder(output) / name, questions, bench, expert, refine, negatives))
    return Synthesis(output, jobs, shard, {"passages": sum(len(job.bench.corpus) for job in jobs), **_told(args)})


def _covered(questions: Questions, expert: Expert) -> Questions:
    """With recorded candidates, the questions that have some; the others are counted as skipped."""
    if not isinstance(expert, RecordedExpert):
        return questions
    rows = expert.covered(questions.rows)
    skipped = Counter({"no recorded candidates": len(questions.rows) - len(rows)})
    return Questions(rows, questions.skipped + skipped)


def make_members(names: Sequence[str], cache: VectorCache, *, fast: bool = False) -> list[Member]:
    """The committee.

    Args:
        names: `bm25`, `o1:NAME` for an O1 Embedder, anything else is a sentence-transformers model.
        cache: for vectors of passages.
        fast: bfloat16 for O1 members where the processor has it.

    Raises:
        InvalidInputError: no member, or one twice.
        O1Error: a model or a library is missing.
    """
    if not names or len(set(names)) < len(names):
        raise InvalidInputError(f"--members needs one or more different names, got {list(names)}.")
    members = [_member(name, cache, fast) for name in names]
    called = Counter(member.name for member in members)
    if len(called) < len(members):
        raise InvalidInputError(f"two members are called {called.most_common(1)[0][0]!r}: rename a folder.")
    return members


def _member(name: str, cache: VectorCache, fast: bool) -> Member:
    if name == "bm25":
        return LexicalMember()
    if name.startswith("o1:"):
        encoding = EncodingConfig(precision="fast" if fast else "full")
        embedder = O1Embedder.from_pretrained(name.removeprefix("o1:"), encoding=encoding)
        return o1_member(embedder, name, cache)
    return DenseMember(SentenceTransformerEncoder(name, str(default_device())), cache)


def make_expert(args: Namespace) -> Expert:
    """The expert that `--expert` names.

    Raises:
        InvalidInputError: no such expert, or an argument that it needs is missing.
    """
    if args.number < 1:
        raise InvalidInputError(f"--number must be at least 1, got {args.number}.")
    if args.expert == "recorded":
        return RecordedExpert(Path(_needed(args, "candidates")), args.number)
    if args.expert == "extractive":
        from o1_retriever.extractive_thinker import ExtractiveThinker

        return EvidenceExpert(ExtractiveThinker(O1Embedder.from_pretrained()), args.number)
    if args.expert == "llm":
        return _llm_expert(args)
    if args.expert in ("local", "own"):
        return ThinkerExpert(_thinker(args), args.number)
    raise InvalidInputError(f"--expert must be recorded, llm, local, extractive or own, got {args.expert!r}.")


def _llm_expert(args: Namespace) -> Expert:
    from o1_retriever.synthesis.llm_expert import LLMExpert

    thinker = llm_thinker(args)
    if thinker is None:
        raise InvalidInputError("--expert llm needs --llm.model: the model's name at --llm.base_url.")
    return LLMExpert(thinker, args.number)


def _thinker(args: Namespace) -> Thinker:
    from o1_retriever.local_thinker import ChatModelThinker

    if args.expert == "own":
        return OwnThoughts(O1Embedder.from_pretrained(args.expert_model or DEFAULT_MODEL))
    return ChatModelThinker.from_pretrained(_needed(args, "expert_model"), task=task_of(args.task))


def _needed(args: Namespace, name: str) -> str:
    value = args[name]
    if not value:
        raise InvalidInputError(f"--expert {args.expert} needs --{name}.")
    return str(value)


def _collections(args: Namespace) -> dict[str, tuple[Path, Qrels, Path]]:
    """Name -> queries, judgements and corpus, from folders or from three files."""
    files = [args.queries, args.qrels, args.corpus]
    if args.data and not any(files):
        folders = {Path(name).resolve().name: Path(name) for name in args.data}
        if len(folders) < len(args.data):
            raise InvalidInputError(f"--data needs folders of different names, got {', '.join(args.data)}.")
        return {n: (path, read_qrels(path, args.split), path / "corpus.jsonl") for n, path in folders.items()}
    if args.data or not all(files):
        raise InvalidInputError("Give --data FOLDER, or all of --queries, --corpus and --qrels.")
    return {"files": (Path(args.queries), read_qrels_file(Path(args.qrels)), Path(args.corpus))}


def _made(kind: Any, given: Namespace) -> Any:
    """A settings object from its arguments, checked by its own `__post_init__`."""
    return kind(**vars(given))


def _told(args: Namespace) -> dict[str, object]:
    """The arguments, for the report."""
    flat = vars(args.clone().as_flat())
    return {name: str(value) for name, value in sorted(flat.items()) if value is not None and name != "config"}
