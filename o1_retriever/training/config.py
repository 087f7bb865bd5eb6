"""Settings of a training run, each field with its unit. What `o1 train --config` reads and any flag overrides.

Defaults are the authors' (arXiv 2502.07555 and their published configuration) where they state one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from o1_retriever.config import ThinkingConfig, require, require_float, require_int
from o1_retriever.training.run_settings import RunSettings, require_one_of

Tuning = Literal["lora", "full"]
TokenRows = Literal["all", "special"]


@dataclass(frozen=True)
class ModelSettings:
    """What is trained.

    Attributes:
        base: bundled model, folder or hub id of a causal LM.
        revision: of a hub repository.
        dtype: of the weights in memory: float32, bfloat16, float16 or auto (as stored).
        attention: transformers' attention implementation (sdpa, eager, flash_attention_2, ...); None: its default. On
            processors "eager" trains short rows up to 1.4 times as fast (docs/LOG.md).
        tuning: "lora" trains an adapter on all linear layers and the special tokens' rows; "full" everything.
        token_rows: of the embeddings and of the language-model head that "full" trains. "special": those of the four
            special tokens alone; the rows of tokens that the training text lacks keep the base's meaning.
        lora_rank: r.
        lora_alpha: the adapter's output is scaled by alpha / r.
        lora_dropout: probability.
        teacher: sentence-transformers model of the same dimension, for the teacher's terms of the loss; folder, hub id
            or all-MiniLM-L6-v2, which comes with its package.
        teacher_vectors: folder of passages' vectors by that teacher (`text_vectors.py`); what is not there is encoded.
    """

    base: str = "Qwen/Qwen2.5-0.5B"
    revision: str | None = None
    dtype: str = "float32"
    attention: str | None = None
    tuning: Tuning = "lora"
    token_rows: TokenRows = "all"
    lora_rank: int = 32
    lora_alpha: int = 64
    lora_dropout: float = 0.0
    teacher: str | None = None
    teacher_vectors: str | None = None

    def __post_init__(self) -> None:
        require_one_of("model.tuning", self.tuning, ("lora", "full"))
        require_one_of("model.token_rows", self.token_rows, ("all", "special"))
        require(
            self.tuning == "full" or self.token_rows == "all",
            "model.token_rows says what model.tuning=full trains; an adapter trains the special tokens' rows anyway: "
            "leave it out, or set model.tuning=full.",
        )
        require_int("model.lora_rank", self.lora_rank, 1)
        require_int("model.lora_alpha", self.lora_alpha, 1)
        require_float("model.lora_dropout", self.lora_dropout, 0.0, 0.99)


@dataclass(frozen=True)
class DataSettings:
    """What it is trained on.

    Attributes:
        files: JSONL files of rows (see `rows.py`), or one data set of the hub.
        shares: source -> share of each batch that comes from it; empty: all rows alike. A row's source is its "source",
            or its file's name without the ending.
        same_source: every batch from one source, so that its in-batch negatives are of one domain.
        max_bad_rows: how many unusable rows are left out before the run refuses the data.
        group_size: passages per query: 1 positive and group_size - 1 hard negatives.
        max_query_tokens: of the query's text, in training.
        max_thought_tokens: of a thought.
        max_passage_tokens: positions of a passage, BOS and `<emb>` included, in training.
        thought_dropout: share of the queries trained without their thought (paper: about one in ten).
        pad_to_multiple: rows are padded to a multiple of so many tokens.
    """

    files: list[str] = field(default_factory=list)
    shares: dict[str, float] = field(default_factory=dict)
    same_source: bool = False
    max_bad_rows: int = 0
    group_size: int = 16
    max_query_tokens: int = 32
    max_thought_tokens: int = 128
    max_passage_tokens: int = 192
    thought_dropout: float = 0.1
    pad_to_multiple: int = 8

    def __post_init__(self) -> None:
        require(bool(self.files), "data.files is empty: name at least one JSONL file of training rows.")
        for source, share in self.shares.items():
            require_float(f"data.shares[{source}]", share, 0.0, 1.0)
        require(not self.shares or abs(sum(self.shares.values()) - 1) < 1e-6, "data.shares must add up to 1.")
        require(not (self.shares and self.same_source), "data.shares and data.same_source exclude each other.")
        require_int("data.max_bad_rows", self.max_bad_rows, 0)
        require_int("data.group_size", self.group_size, 1)
        require_int("data.max_query_tokens", self.max_query_tokens, 1)
        require_int("data.max_thought_tokens", self.max_thought_tokens, 1)
        require_int("data.max_passage_tokens", self.max_passage_tokens, 3)
        require_float("data.thought_dropout", self.thought_dropout, 0.0, 1.0)
        require_int("data.pad_to_multiple", self.pad_to_multiple, 1)


FURTHER = (
    "no_thought_weight",
    "matching_weight",
    "teacher_passage_weight",
    "teacher_query_weight",
    "teacher_own_weight",
    "teacher_thought_weight",
    "passage_generation_weight",
    "distillation_weight",
)
"""Weights of the terms beyond the paper's two."""


@dataclass(frozen=True)
class LossSettings:
    """What is minimised: contrastive_weight * contrastive + (1 - contrastive_weight) * generation + further terms.

    Attributes:
        contrastive_weight: 1 trains embedding alone, 0 generation alone: the controls of the paper's experiments.
        temperature: of the contrastive softmax.
        cross_device: passages of the other processes are negatives too.
        no_thought_weight: contrastive loss of the bare query, so that `num_thoughts=0` stays good.
        matching_weight: pulls the bare query's vector to the thoughtful one's (distilled thinking).
        teacher_passage_weight: pulls the passages' vectors to those of `model.teacher`.
        teacher_query_weight: pulls the bare queries' vectors to those of `model.teacher`.
        teacher_own_weight: pulls queries with thoughts of the model's own to the teacher's vectors of the bare queries:
            a thought that knows nothing shall do no harm.
        teacher_thought_weight: pulls queries with a thought of their row to what the teacher makes of both
            (`Teacher.thoughts`), so that query and thought are read as one text. Evidence rows are left out.
        passage_generation_weight: next-token loss on passages, from which a model that cannot write yet learns to.
        passage_generation_share: of the passages' tokens that it is computed at.
        distillation_weight: KL to the rows' teacher scores over each query's group.
        teacher_temperature: divides the teacher's scores.
        false_negative_margin: passages that score more than this above the positive are no negatives; None: all are.
    """

    contrastive_weight: float = 0.8
    temperature: float = 0.02
    cross_device: bool = True
    no_thought_weight: float = 0.0
    matching_weight: float = 0.0
    teacher_passage_weight: float = 0.0
    teacher_query_weight: float = 0.0
    teacher_own_weight: float = 0.0
    teacher_thought_weight: float = 0.0
    passage_generation_weight: float = 0.0
    passage_generation_share: float = 0.15
    distillation_weight: float = 0.0
    teacher_temperature: float = 1.0
    false_negative_margin: float | None = None

    def __post_init__(self) -> None:
        require_float("loss.contrastive_weight", self.contrastive_weight, 0.0, 1.0)
        require_float("loss.temperature", self.temperature, 1e-4, 100.0)
        require_float("loss.teacher_temperature", self.teacher_temperature, 1e-4, 1e4)
        for name in FURTHER:
            require_float(f"loss.{name}", getattr(self, name), 0.0, 1e4)
        require_float("loss.passage_generation_share", self.passage_generation_share, 0.0, 1.0)
        if self.false_negative_margin is not None:
            require_float("loss.false_negative_margin", self.false_negative_margin, -2.0, 2.0)

    @property
    def generates(self) -> bool:
        return self.contrastive_weight < 1

    @property
    def embeds(self) -> bool:
        return self.contrastive_weight > 0 or any(getattr(self, name) > 0 for name in FURTHER)

    @property
    def needs_bare_queries(self) -> bool:
        return self.no_thought_weight > 0 or self.matching_weight > 0 or self.teacher_query_weight > 0

    @property
    def needs_teacher(self) -> bool:
        return any(getattr(self, name) > 0 for name in FURTHER if name.startswith("teacher_"))


@dataclass(frozen=True)
class OwnThoughtSettings:
    """On-policy rows: trained in the contrastive loss only, on thoughts that the model has just sampled itself.

    Without them a model is harmed by its own thoughts: it learns to search with good ones and is served with its own.

    Attributes:
        share: of the queries that have a thought.
        every: optimizer steps between two samplings, each for the queries of the steps up to the next.
        first: optimizer step from which on own thoughts are used; before it those rows keep their thought.
        thinking: how they are sampled (`num_thoughts` is not read: one each).
    """

    share: float = 0.0
    every: int = 100
    first: int = 0
    thinking: ThinkingConfig = field(default_factory=lambda: ThinkingConfig(temperature=0.7, max_new_tokens=64))

    def __post_init__(self) -> None:
        require_float("own_thoughts.share", self.share, 0.0, 1.0)
        require_int("own_thoughts.every", self.every, 1)
        require_int("own_thoughts.first", self.first, 0)


@dataclass(frozen=True)
class EvaluationSettings:
    """How the run is watched: nDCG@10 on a small BEIR folder picks the best checkpoint.

    Attributes:
        data: folder in BEIR form; None: no evaluation, the last weights are kept.
        split: of its judgements; never the one you report.
        every: optimizer steps.
        num_thoughts: numbers of own thoughts to evaluate with; the last of them picks the best checkpoint.
        max_queries: of the split; None takes all.
        max_passages: relevant ones first; None takes all.
    """

    data: str | None = None
    split: str = "dev"
    every: int = 200
    num_thoughts: list[int] = field(default_factory=lambda: [0, 3])
    max_queries: int | None = 200
    max_passages: int | None = 4000

    def __post_init__(self) -> None:
        require_int("evaluation.every", self.every, 1)
        require(bool(self.num_thoughts), "evaluation.num_thoughts is empty: 0 evaluates without thinking.")
        for number in self.num_thoughts:
            require_int("evaluation.num_thoughts", number, 0)


@dataclass(frozen=True)
class TrainConfig:
    """A whole run; `output` is the folder of the finished model."""

    output: str
    model: ModelSettings
    data: DataSettings
    loss: LossSettings = field(default_factory=LossSettings)
    own_thoughts: OwnThoughtSettings = field(default_factory=OwnThoughtSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    run: RunSettings = field(default_factory=RunSettings)

    def __post_init__(self) -> None:
        require(
            not self.loss.needs_teacher or self.model.teacher is not None,
            "the loss.teacher_..._weight terms need a model.teacher: name one.",
        )
        require(
            not self.loss.teacher_own_weight or self.own_thoughts.share > 0,
            "loss.teacher_own_weight needs thoughts of the model's own: set own_thoughts.share.",
        )
