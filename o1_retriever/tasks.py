"""What experts are asked: an instruction, examples and angles per kind of search. Knows messages, not who is asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from o1_retriever import task_texts
from o1_retriever.config import require
from o1_retriever.errors import DatasetError, InvalidInputError
from o1_retriever.fingerprints import digest


@dataclass(frozen=True)
class Example:
    """A query and a thought as it should be."""

    query: str
    thought: str


@dataclass(frozen=True)
class Task:
    """How thoughts are asked for.

    Attributes:
        name: for command lines and messages.
        instruction: what to write; becomes the system message.
        examples: queries with good thoughts; become turns of the conversation.
        angles: candidate i is asked for from angle i modulo their number; one sentence each, behind the instruction.
            Without any, all candidates are asked for alike.
    """

    name: str
    instruction: str
    examples: tuple[Example, ...] = ()
    angles: tuple[str, ...] = task_texts.ANGLES

    def __post_init__(self) -> None:
        for field in ("name", "instruction"):
            value = getattr(self, field)
            require(isinstance(value, str) and bool(value.strip()), f"{field} must be a text, got {value!r:.80}.")
        for example in self.examples:
            texts = (example.query, example.thought)
            require(all(isinstance(text, str) and text.strip() for text in texts), f"{example!r:.80} is incomplete.")
        for angle in self.angles:
            require(isinstance(angle, str), f"an angle must be a text, got {angle!r:.80}.")

    @property
    def fingerprint(self) -> str:
        """Changes with everything that a model is told."""
        examples = [(example.query, example.thought) for example in self.examples]
        return digest(self.instruction, examples, self.angles, task_texts.EVIDENCE)

    def messages(self, query: str, evidence: Sequence[str] | None = None, angle: int = 0) -> list[dict[str, str]]:
        """The conversation that asks for a thought.

        Args:
            query: becomes the last message; its text is never interpreted.
            evidence: passages that a first search found; they stand behind the query.
            angle: number of the candidate.

        Returns:
            `{"role", "content"}`: system, then user and assistant by turns, user last.
        """
        parts = [self.instruction]
        if evidence:
            parts.append(task_texts.EVIDENCE)
        if self.angles:
            parts.append(self.angles[angle % len(self.angles)])
        messages = [{"role": "system", "content": "\n\n".join(part for part in parts if part)}]
        for example in self.examples:
            messages.append({"role": "user", "content": example.query})
            messages.append({"role": "assistant", "content": example.thought})
        numbered = [f"[{number}] {passage}" for number, passage in enumerate(evidence or (), start=1)]
        return [*messages, {"role": "user", "content": "\n\n".join([query, *numbered])}]

    @classmethod
    def from_file(cls, path: str | Path) -> Task:
        """Reads a JSON object `{"name", "instruction", "examples": [{"query", "thought"}], "angles": [...]}`.

        Raises:
            DatasetError: the file is missing or has another form.
        """
        try:
            raw: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
            examples = tuple(Example(**example) for example in _list(raw.pop("examples", [])))
            if "angles" in raw:
                raw["angles"] = tuple(_list(raw["angles"]))
            return cls(examples=examples, **raw)
        except (OSError, ValueError, TypeError, AttributeError, InvalidInputError) as error:
            raise DatasetError(
                f"{path} is no task: {error}. It must be a JSON object with name, instruction, examples (objects with "
                "query and thought) and angles (texts)."
            ) from error


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"expected a list, got {value!r:.80}")
    return value


TASKS: dict[str, Task] = {
    name: Task(name, instruction, tuple(Example(*pair) for pair in examples))
    for name, (instruction, examples) in task_texts.TASKS.items()
}
"""By name: question-answering, claim-verification, scientific-search, finance, code-search."""
