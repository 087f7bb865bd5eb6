"""The command `o1`. Knows the engine's own verbs; other distributions register theirs by entry points.

A verb is an object with `help`, `add_arguments(parser)` and `run(args) -> exit status`, found by the entry-point group
`o1_retriever.commands`. Errors of ours become one line and exit status 2.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
from importlib.metadata import entry_points
from typing import Any, Protocol

from jsonargparse import ArgumentParser, Namespace

from o1_retriever.bundled import DEFAULT_MODEL
from o1_retriever.config import ThinkingConfig
from o1_retriever.errors import InvalidInputError, O1Error
from o1_retriever.export import ExportCommand
from o1_retriever.llm_arguments import add_llm_arguments, llm_thinker
from o1_retriever.synthesis.command import SynthesizeCommand
from o1_retriever.training.command import TrainCommand

GROUP = "o1_retriever.commands"
KNOWN_ELSEWHERE = {"index": "chroma-o1", "search": "chroma-o1"}


class Command(Protocol):
    """One verb of `o1`."""

    help: str

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declares the verb's arguments."""

    def run(self, args: Namespace) -> int:
        """Does the work; returns the exit status. Errors derive from `O1Error`."""


def add_model_arguments(parser: ArgumentParser) -> None:
    """The arguments of every verb that loads a model."""
    parser.add_argument("--model", type=str, default=DEFAULT_MODEL, help="bundled model, folder or hub id")
    parser.add_argument("--device", type=str | None, default=None, help="cpu, cuda or mps; the best one by default")
    parser.add_argument("--dtype", type=str | None, default=None, help="float32, bfloat16 or float16")


def load_embedder(args: Namespace, **kwargs: Any) -> Any:
    """The embedder that `add_model_arguments` describes; models are imported only here, so that help is quick."""
    from transformers.utils import logging as transformers_logging

    from o1_retriever.embedder import O1Embedder

    transformers_logging.disable_progress_bar()
    return O1Embedder.from_pretrained(args.model, device=args.device, dtype=args.dtype, **kwargs)


class InfoCommand:
    """Prints what a model is and how it thinks."""

    help = "show a model's size, limits, fingerprints and default thinking"

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_model_arguments(parser)
        parser.add_argument("--json", action="store_true", help="print JSON")

    def run(self, args: Namespace) -> int:
        embedder = load_embedder(args)
        facts: dict[str, object] = {
            "model": args.model,
            "parameters": sum(p.numel() for p in embedder.model.parameters()),
            "dimension": embedder.dimension,
            "device": str(embedder.device),
            "dtype": str(embedder.model.dtype).removeprefix("torch."),
            "max_query_tokens": embedder.max_query_tokens,
            "max_passage_tokens": embedder.max_passage_tokens,
            "aggregation": embedder.config.aggregation,
            "passage_fingerprint": embedder.passage_fingerprint,
            "query_fingerprint": embedder.query_fingerprint(),
            **dataclasses.asdict(embedder.config.thinking),
        }
        print(json.dumps(facts, indent=2) if args.json else "\n".join(f"{k:<20} {v}" for k, v in facts.items()))
        return 0


class ThinkCommand:
    """Prints the thoughts of a question: the model's own, or a language model's."""

    help = "write thoughts about a question"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("question", type=str, help="what to think about")
        parser.add_argument("-k", "--thoughts", type=int | None, default=None, help="number of thoughts")
        parser.add_argument("--temperature", type=float | None, default=None, help="0 is greedy")
        parser.add_argument("--max-new-tokens", type=int | None, default=None, help="tokens per thought at most")
        parser.add_argument("--seed", type=int | None, default=None, help="other thoughts, reproducibly")
        parser.add_argument("--json", action="store_true", help="print JSON")
        add_model_arguments(parser)
        add_llm_arguments(parser)

    def run(self, args: Namespace) -> int:
        thoughts = _own_thoughts(args) if not args.llm.model else _thoughts_of_llm(args)
        if args.json:
            print(json.dumps({"query": args.question, "thoughts": thoughts}, ensure_ascii=False))
        else:
            print("\n".join(f"{number}. {text}" for number, text in enumerate(thoughts, start=1)))
        return 0


_OWN_SETTINGS = {"temperature": "llm.temperature", "max_new_tokens": "llm.max_tokens", "seed": "llm.seed"}
"""Of the model's own thinking, and what they are called for a language model."""


def _own_thoughts(args: Namespace) -> list[str]:
    embedder = load_embedder(args)
    given = {"num_thoughts": args.thoughts} | {name: args[name] for name in _OWN_SETTINGS}
    settings = dataclasses.replace(embedder.config.thinking, **{k: v for k, v in given.items() if v is not None})
    return embedder.think(args.question, thinking=settings)  # type: ignore[no-any-return]


def _thoughts_of_llm(args: Namespace) -> list[str]:
    """No embedder is loaded for them."""
    for name, other in _OWN_SETTINGS.items():
        if args[name] is not None:
            flag = name.replace("_", "-")
            raise InvalidInputError(f"--{flag} is of the model's own thinking: with --llm.model use --{other}.")
    number = ThinkingConfig().num_thoughts if args.thoughts is None else args.thoughts
    thinker = llm_thinker(args)
    if thinker is None:
        return []
    with thinker:
        return thinker.think([args.question], number)[0]


class MissingCommand:
    """Stands in for a verb whose distribution is not installed."""

    def __init__(self, verb: str, distribution: str) -> None:
        self.help = f"(not installed: pip install {distribution})"
        self._message = f"`o1 {verb}` comes with {distribution}, which is not installed: pip install {distribution}"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("arguments", nargs="*", type=str)

    def run(self, args: Namespace) -> int:
        raise O1Error(self._message)


def commands() -> dict[str, Command]:
    """All verbs: ours, those of installed distributions, and stand-ins for known ones that are missing."""
    found: dict[str, Command] = {
        "info": InfoCommand(),
        "think": ThinkCommand(),
        "synthesize": SynthesizeCommand(),
        "train": TrainCommand(),
        "export": ExportCommand(),
    }
    found |= {entry.name: entry.load()() for entry in entry_points(group=GROUP)}
    return found | {verb: MissingCommand(verb, dist) for verb, dist in KNOWN_ELSEWHERE.items() if verb not in found}


def main(arguments: list[str] | None = None) -> int:
    """Runs one verb; returns the exit status: 0, 2 for errors the user can mend, 130 after Ctrl-C."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    given = sys.argv[1:] if arguments is None else arguments
    known = commands()
    verb = next((a for a in given if not a.startswith("-")), None)
    if verb in known and isinstance(known[verb], MissingCommand):
        return _run(known[verb], Namespace())  # type: ignore[no-untyped-call]
    parser = ArgumentParser(prog="o1", description="A causal language model that thinks before it retrieves.")
    verbs = parser.add_subcommands(dest="verb")
    for name, command in known.items():
        sub = ArgumentParser()
        command.add_arguments(sub)
        verbs.add_subcommand(name, sub, help=command.help)
    args = parser.parse_args(given)
    return _run(known[args.verb], args[args.verb])


def _run(command: Command, args: Namespace) -> int:
    try:
        return command.run(args)
    except O1Error as error:
        print(f"o1: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("o1: stopped; what was finished is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of our output left: not an error
        return 0


if __name__ == "__main__":
    sys.exit(main())
