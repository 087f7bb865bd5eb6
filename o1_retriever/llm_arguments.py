"""Arguments of verbs that may ask a language model: which one, how, and for what. Builds its thinker from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from o1_retriever.errors import InvalidInputError
from o1_retriever.llm_config import LLMConfig

if TYPE_CHECKING:
    from o1_retriever.llm_thinker import LLMThinker
    from o1_retriever.tasks import Task


def add_llm_arguments(parser: ArgumentParser) -> None:
    """`--llm.*` of `LLMConfig`, and what the model is asked for."""
    parser.add_argument("--task", type=str, default="question-answering", help="a known task, or a JSON file")
    parser.add_argument("--llm.base_url", type=str, default="http://localhost:8000/v1", help="address of the endpoint")
    parser.add_argument("--llm.model", type=str | None, default=None, help="the model's name there")
    parser.add_class_arguments(LLMConfig, "llm", skip={"base_url", "model"})


def llm_thinker(args: Namespace) -> LLMThinker | None:
    """The language model that `--llm.model` names, to be closed by the caller; None where it names none.

    Raises:
        InvalidInputError: a setting is out of its range, or there is no such task.
    """
    from o1_retriever.llm_thinker import LLMThinker  # here, so that help is quick

    return LLMThinker(LLMConfig(**vars(args.llm)), task=task_of(args.task)) if args.llm.model else None


def task_of(name: str) -> Task:
    """A known task, or one read from a JSON file.

    Raises:
        InvalidInputError: it is neither.
    """
    from o1_retriever.tasks import TASKS, Task

    if name in TASKS:
        return TASKS[name]
    if not Path(name).is_file():
        raise InvalidInputError(f"--task must be a JSON file or one of {', '.join(TASKS)}; got {name!r}.")
    return Task.from_file(Path(name))
