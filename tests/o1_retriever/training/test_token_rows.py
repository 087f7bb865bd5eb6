"""Only the special tokens' rows are trained: the others are the base's to the bit, embeddings and head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from o1_retriever import O1Embedder
from o1_retriever.errors import InvalidInputError
from o1_retriever.prompts import SPECIAL_TOKENS
from o1_retriever.training.config import TrainConfig
from o1_retriever.training.run import train
from o1_retriever.training.token_rows import token_tables, train_rows

Config = Callable[..., TrainConfig]
Rows = Callable[[int], list[dict[str, Any]]]
Write = Callable[..., str]
RUN = {"steps": 6, "learning_rate": 1e-2, "weight_decay": 0.1, "max_grad_norm": 0.5}


def changed_rows(base: O1Embedder, trained: O1Embedder) -> list[set[int]]:
    """Of each token table, the rows that are not bit for bit the base's."""
    pairs = zip(token_tables(base.model), token_tables(trained.model), strict=True)
    return [
        set((old.view(torch.int32) != new.view(torch.int32)).any(dim=1).nonzero()[:, 0].tolist()) for old, new in pairs
    ]


def special_ids(embedder: O1Embedder) -> set[int]:
    return {embedder.checkpoint.tokenizer.get_vocab()[token] for token in SPECIAL_TOKENS}


@pytest.mark.parametrize(
    ("family", "tied", "run"),
    [
        ("qwen2", True, {}),
        ("qwen2", True, {"chunk_size": 3, "accumulate": 2}),
        ("qwen2", False, {}),
        ("bert", True, {"embedding_rate": 0.5, "head_rate": 2.0}),
        ("gpt2", True, {}),
    ],
)
def test_other_rows_stay_to_the_bit(
    family: str,
    tied: bool,
    run: dict[str, Any],
    make_embedder: Callable[..., O1Embedder],
    write_rows: Write,
    rows_of: Rows,
    train_config: Config,
    tmp_path: Path,
) -> None:
    """With weight decay, clipping, rates by role and gradient caching; everything but the tables is trained."""
    base = make_embedder(family, tied)
    base.save_pretrained(tmp_path / "base")
    model = {"base": str(tmp_path / "base"), "token_rows": "special"}
    config = train_config(write_rows(rows_of(16)), model=model, run={**RUN, **run})
    trained = O1Embedder.from_pretrained(train(config))
    assert len(token_tables(base.model)) == (1 if tied else 2)
    embeddings, *head = changed_rows(base, trained)
    assert embeddings == special_ids(base), "the four tokens' rows, all of them and no other"
    assert all(rows == special_ids(base) for rows in head)
    tables = {id(table) for table in token_tables(base.model)}
    after = dict(trained.model.named_parameters())
    layers = [n for n, p in base.model.named_parameters() if id(p) not in tables and p.ndim > 1 and "position" not in n]
    assert layers and all(not torch.equal(after[n], base.model.get_parameter(n)) for n in layers)


def test_all_rows_are_trained_unless_told_otherwise(
    write_rows: Write, rows_of: Rows, train_config: Config, tiny_folder: str
) -> None:
    base = O1Embedder.from_pretrained(tiny_folder)
    [rows] = changed_rows(base, O1Embedder.from_pretrained(train(train_config(write_rows(rows_of(16)), run=RUN))))
    assert len(rows) == len(token_tables(base.model)[0])


def test_a_stopped_run_goes_on_with_the_rows_that_stay(
    write_rows: Write, rows_of: Rows, train_config: Config, tiny_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from o1_retriever.training.trainer import JointTrainer

    plain = JointTrainer.training_step

    def stopping(self: JointTrainer, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 3:
            raise KeyboardInterrupt
        return plain(self, *args, **kwargs)

    file = write_rows(rows_of(16))
    one, two = (train_config(file, name, model={"token_rows": "special"}, run=RUN) for name in ("one", "two"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(JointTrainer, "training_step", stopping)
        train(two)
    undisturbed, resumed = (O1Embedder.from_pretrained(train(config)) for config in (one, two))
    assert changed_rows(undisturbed, resumed) == [set()]
    base = O1Embedder.from_pretrained(tiny_folder)
    assert changed_rows(base, resumed) == [special_ids(base)]


def test_a_gradient_that_is_no_number_stays_in_its_row(make_embedder: Callable[..., O1Embedder]) -> None:
    model = make_embedder().model
    train_rows(model, [1])
    [table] = token_tables(model)
    (table * torch.where(torch.arange(len(table)) == 1, 2.0, torch.nan)[:, None]).sum().backward()  # type: ignore[no-untyped-call]
    assert table.grad is not None and table.grad[1].eq(2).all()
    assert table.grad.count_nonzero() == table.shape[1]


@pytest.mark.parametrize("sharding", [{"fsdp": "fsdp"}, {"deepspeed": "zero2"}])
def test_sharded_weights_cannot_leave_rows_out(sharding: dict[str, str], train_config: Config, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"train all rows: leave out model\.token_rows"):
        train(train_config("rows.jsonl", model={"token_rows": "special"}, run=sharding))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"tuning": "lora", "token_rows": "special"}, r"set model\.tuning=full"),
        ({"token_rows": "some"}, "one of all, special"),
    ],
)
def test_what_the_setting_refuses(model: dict[str, str], message: str, train_config: Config) -> None:
    with pytest.raises(InvalidInputError, match=message):
        train_config("rows.jsonl", model=model)
