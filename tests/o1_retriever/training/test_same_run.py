"""Runs begun before a setting existed go on while it has its default; another value is another run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from o1_retriever.errors import InvalidInputError
from o1_retriever.training.config import OwnThoughtSettings, TrainConfig
from o1_retriever.training.run import train
from o1_retriever.training.same_run import default_settings, differences
from o1_retriever.training.trainer import JointTrainer

Config = Callable[..., TrainConfig]
Rows = Callable[[int], list[dict[str, Any]]]
Write = Callable[..., str]


def without(record: dict[str, Any], *path: str) -> dict[str, Any]:
    """The record as an older version wrote it: without this setting."""
    inner = record
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return record


def test_a_stopped_run_of_an_older_version_goes_on(
    write_rows: Write, rows_of: Rows, train_config: Config, changed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = JointTrainer.training_step

    def stopping(self: JointTrainer, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 3:
            raise KeyboardInterrupt
        return plain(self, *args, **kwargs)

    config = train_config(write_rows(rows_of(16)))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(JointTrainer, "training_step", stopping)
        train(config)
    marked = Path(config.output) / "training.json"
    record = json.loads(marked.read_text())
    for path in (("model", "token_rows"), ("run", "length_groups"), ("own_thoughts",)):
        without(record, "config", *path)
    marked.write_text(json.dumps(record))
    with pytest.raises(InvalidInputError, match=r"config\.model\.token_rows: 'all' there, 'special' now"):
        train(changed(config, model={"token_rows": "special"}))
    with pytest.raises(InvalidInputError, match=r"config\.run\.length_groups: 1 there, 2 now"):
        train(changed(config, run={"length_groups": 2}))
    with pytest.raises(InvalidInputError, match=r"config\.own_thoughts\.share: 0\.0 there, 0\.5 now"):
        train(changed(config, own_thoughts={"share": 0.5}))
    assert (train(config) / "history.json").is_file()


def test_a_section_s_defaults_are_its_own() -> None:
    """Own thoughts are sampled with other settings than thoughts of a served model."""
    defaults = default_settings(TrainConfig)
    assert defaults["own_thoughts"]["thinking"]["temperature"] == OwnThoughtSettings().thinking.temperature
    assert defaults["model"]["token_rows"] == "all" and defaults["data"]["group_size"] == 16
    assert "output" not in defaults


@pytest.mark.parametrize(
    ("theirs", "found"),
    [
        ({"config": {"data": {"shares": {"a": 0.5, "b": 0.5}}}}, []),
        ({"config": {"data": {"shares": {}}}}, ["config.data.shares.a: nothing there, 0.5 now"]),
        ({"config": {"data": {"shares": {"a": 0.5, "b": 0.5}}}, "processes": 2}, ["processes: 2 there, nothing now"]),
        (
            {"config": {"data": {"shares": {"a": 0.5, "b": 0.5}, "given_up": 1}}},
            ["config.data.given_up: 1 there, nothing now"],
        ),
        ({"config": {"output": "moved", "data": {"shares": {"a": 0.5, "b": 0.5}}}, "versions": {"torch": "1"}}, []),
    ],
)
def test_what_counts_as_another_run(theirs: dict[str, Any], found: list[str]) -> None:
    mine = {"config": {"output": "here", "data": {"shares": {"a": 0.5, "b": 0.5}}}, "versions": {"torch": "2"}}
    assert differences(mine, theirs)[: max(1, len(found))] == found
