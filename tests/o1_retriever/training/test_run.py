"""Whole runs on tiny models: what is learned, what is saved, how a stopped run goes on, what is refused."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from o1_retriever import O1Embedder, ThinkingConfig
from o1_retriever.errors import CheckpointError, DatasetError, InvalidInputError, O1Error, StorageError
from o1_retriever.training.checkpoints import complete_checkpoints, tidy
from o1_retriever.training.config import EvaluationSettings, OwnThoughtSettings, TrainConfig
from o1_retriever.training.run import train
from o1_retriever.training.step import NonFiniteLossError
from o1_retriever.training.trainer import JointTrainer

Config = Callable[..., TrainConfig]
Rows = Callable[[int], list[dict[str, Any]]]
Write = Callable[..., str]
GREEDY = ThinkingConfig(num_thoughts=1, temperature=0.0, max_new_tokens=16)


def learned(embedder: O1Embedder, rows: list[dict[str, Any]]) -> tuple[float, float]:
    """Shares of the rows whose thought is written word for word, and whose positive is ranked first of all texts."""
    queries = [row["query"] for row in rows]
    thoughts = embedder.think(queries, thinking=GREEDY)
    written = sum(found == [row["thought"]] for found, row in zip(thoughts, rows, strict=True))
    texts = [row["pos"][0] for row in rows] + [text for row in rows for text in row["neg"]]
    vectors = embedder.encode_query(queries, thoughts=[[row["thought"]] for row in rows])
    best = (vectors @ embedder.encode_document(texts, show_progress=False).T).argmax(axis=1)
    return written / len(rows), float((best == np.arange(len(rows))).mean())


OVERFIT = {"steps": 150, "batch_size": 16, "learning_rate": 4e-3, "save_every": 1000, "log_every": 50}


@pytest.mark.parametrize(("weight", "writes", "ranks"), [(0.5, True, True), (1.0, False, True), (0.0, True, False)])
def test_a_tiny_model_overfits_what_its_weight_says(
    weight: float, writes: bool, ranks: bool, write_rows: Write, rows_of: Rows, train_config: Config
) -> None:
    rows = rows_of(32)
    config = train_config(
        write_rows(rows),
        loss={"contrastive_weight": weight, "temperature": 0.05},
        run=OVERFIT,
        data={"thought_dropout": 0.0},
    )
    written, ranked = learned(O1Embedder.from_pretrained(train(config)), rows)
    assert (written == 1.0) if writes else (written < 0.1)
    assert (ranked == 1.0) if ranks else (ranked < 0.5)


@pytest.mark.parametrize("save_as", ["adapter", "merged"])
def test_an_adapter_learns_and_loads(
    save_as: str, write_rows: Write, rows_of: Rows, train_config: Config, tiny_folder: str
) -> None:
    config = train_config(
        write_rows(rows_of(16)),
        model={"tuning": "lora", "lora_rank": 4, "lora_alpha": 8},
        run={"steps": 12, "learning_rate": 1e-2, "save_as": save_as},
    )
    folder = train(config)
    assert (folder / "adapter_config.json").is_file() == (save_as == "adapter")
    trained, base = O1Embedder.from_pretrained(folder), O1Embedder.from_pretrained(tiny_folder)
    assert np.abs(trained.encode_query("fox?", 0) - base.encode_query("fox?", 0)).max() > 0.01
    rows = trained.checkpoint.tokenizer.get_vocab()
    special = [rows[t] for t in ("<query>", "</query>", "<thought>", "<emb>")]
    old, new = (e.model.get_input_embeddings().weight for e in (base, trained))
    assert all(not torch.equal(old[i], new[i]) for i in special), "the four tokens are trained"
    others = [i for i in range(len(rows)) if i not in special]
    assert torch.equal(old[others], new[others]), "no other embedding is"
    losses = [e["loss"] for e in json.loads((folder / "history.json").read_text()) if "loss" in e]
    assert losses[-1] < losses[0]


def test_what_a_run_leaves_behind(write_rows: Write, rows_of: Rows, train_config: Config, tiny_folder: str) -> None:
    file = write_rows(rows_of(16))
    folder = train(train_config(file))
    record = json.loads((folder / "training.json").read_text())
    assert record["config"]["run"]["seed"] == 0 and len(record["data"][file]) == 64
    assert record["versions"]["torch"] == version("torch") and record["processes"] == 1
    card = (folder / "README.md").read_text()
    assert "library_name: o1-retriever" in card and "contrastive 0.8, generation 0.2" in card
    history = json.loads((folder / "history.json").read_text())
    assert {"loss", "contrastive", "generation", "learning_rate", "step"} <= set(history[0])
    assert (folder / "training.png").read_bytes()[:4] == b"\x89PNG"
    assert not list(folder.glob("optimizer.pt"))
    assert [p.name for p in complete_checkpoints(folder / "checkpoints")] == ["checkpoint-4"], "one is kept"
    assert json.loads((folder / "config.json").read_text()).get("use_cache", True) is True
    assert O1Embedder.from_pretrained(folder).config == O1Embedder.from_pretrained(tiny_folder).config


@pytest.mark.parametrize("family", ["qwen2", "bert"])
def test_a_saved_adapter_is_what_was_trained(
    family: str,
    write_rows: Write,
    rows_of: Rows,
    train_config: Config,
    tmp_path: Path,
    model_factory: Any,
    tokenizer_factory: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a base without our tokens, its output bias not zero: in training and after loading it does the same."""
    model = model_factory(family)
    if family == "bert":
        with torch.no_grad():
            for bias in (model.cls.predictions.bias, model.cls.predictions.decoder.bias):
                bias.copy_(torch.linspace(-3, 3, bias.shape[0]))
    for part in (tokenizer_factory(family), model):
        part.save_pretrained(tmp_path / "base")
    seen: dict[str, Any] = {}
    plain = JointTrainer.resume

    def watch(self: JointTrainer, checkpoint: Path | None) -> None:
        plain(self, checkpoint)
        embedder = self.embedder()
        embedder.model.eval()
        seen["vectors"] = embedder.encode_query(["q", "other"], 0)
        seen["thoughts"] = embedder.think(["q", "other"], thinking=GREEDY)

    monkeypatch.setattr(JointTrainer, "resume", watch)
    run = {"steps": 6, "learning_rate": 1e-2}
    config = train_config(write_rows(rows_of(8)), model={"base": str(tmp_path / "base"), "tuning": "lora"}, run=run)
    loaded = O1Embedder.from_pretrained(train(config))
    np.testing.assert_allclose(loaded.encode_query(["q", "other"], 0), seen["vectors"], atol=1e-5)
    assert loaded.think(["q", "other"], thinking=GREEDY) == seen["thoughts"]
    sizes = load_file(Path(config.output) / "adapter_model.safetensors")
    assert not [name for name in sizes if name.endswith("embed_tokens.weight")], "no whole embedding table"


def stop(*args: Any, **kwargs: Any) -> None:
    raise KeyboardInterrupt


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run ends as by a kill in the middle of this optimizer step."""
    plain = JointTrainer.training_step

    def stopping(self: JointTrainer, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == step:
            raise KeyboardInterrupt
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(JointTrainer, "training_step", stopping)


@pytest.mark.parametrize("tuning", ["full", "lora"])
@pytest.mark.parametrize("chunk_size", [0, 3])
def test_a_stopped_run_goes_on_to_the_same_weights(
    tuning: str,
    chunk_size: int,
    write_rows: Write,
    rows_of: Rows,
    train_config: Config,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With dropout, own thoughts and accumulation: every state there is."""
    file = write_rows(rows_of(20))

    def config(output: str) -> TrainConfig:
        return train_config(
            file,
            output,
            model={"tuning": tuning, "lora_dropout": 0.2},
            run={"steps": 8, "save_every": 3, "accumulate": 2, "chunk_size": chunk_size, "learning_rate": 1e-3},
            own_thoughts=OwnThoughtSettings(share=0.5, every=4, thinking=ThinkingConfig(max_new_tokens=6)),
        )

    undisturbed = train(config("one"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(5, patch)
        train(config("two"))
    half = config("two")
    (Path(half.output) / "checkpoints" / "checkpoint-99").mkdir()  # what a kill while saving leaves
    resumed = train(half)
    name = "model.safetensors" if tuning == "full" else "adapter_model.safetensors"
    one, two = load_file(undisturbed / name), load_file(resumed / name)
    assert all(torch.allclose(one[key], two[key], rtol=0, atol=1e-6) for key in one)
    assert not (Path(half.output) / "checkpoints" / "checkpoint-99").exists()


def test_a_run_stopped_while_it_finishes(
    write_rows: Write, rows_of: Rows, train_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All steps are done, the model is half in place: the same command puts it there without training again."""
    file = write_rows(rows_of(16))
    undisturbed, half = train(train_config(file, "one")), train_config(file, "two")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("o1_retriever.training.run.write_card", stop)
        train(half)
    stop_at(0, monkeypatch)
    one, two = load_file(undisturbed / "model.safetensors"), load_file(train(half) / "model.safetensors")
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_own_thoughts_are_sampled_read_and_renewed(
    write_rows: Write, rows_of: Rows, train_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    from o1_retriever.training.own_thoughts import OwnThoughts

    pools: list[tuple[int, dict[int, list[int]]]] = []
    plain = OwnThoughts.refresh

    def watch(self: OwnThoughts, step: int, visits: Any) -> None:
        plain(self, step, visits)
        pools.append((step, dict(self.thoughts)))

    monkeypatch.setattr(OwnThoughts, "refresh", watch)
    own = OwnThoughtSettings(share=1.0, every=2, first=1, thinking=ThinkingConfig(max_new_tokens=5))
    folder = train(
        train_config(write_rows(rows_of(16)), own_thoughts=own, run={"steps": 6}, data={"thought_dropout": 0.0})
    )
    assert [step for step, _ in pools] == [1, 3, 5]
    assert [sorted(pool) for _, pool in pools] == [list(range(8, 24)), list(range(24, 40)), list(range(40, 48))]
    generation = [e["generation"] for e in json.loads((folder / "history.json").read_text()) if "generation" in e]
    assert len(generation) == 1, "from step 1 on all thoughts are own ones, and own ones are not imitated"


@pytest.fixture
def evaluation(tmp_path: Path, rows_of: Rows) -> EvaluationSettings:
    """The training rows as a BEIR folder."""
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    rows = rows_of(16)
    texts = [row["pos"][0] for row in rows] + [text for row in rows for text in row["neg"]]
    lines = {
        "corpus.jsonl": [json.dumps({"_id": f"d{i}", "title": "", "text": text}) for i, text in enumerate(texts)],
        "queries.jsonl": [json.dumps({"_id": f"q{i}", "text": row["query"]}) for i, row in enumerate(rows)],
        "qrels/dev.tsv": ["query-id\tcorpus-id\tscore"] + [f"q{i}\td{i}\t1" for i in range(16)],
    }
    for name, content in lines.items():
        (folder / name).write_text("\n".join(content) + "\n")
    return EvaluationSettings(data=str(folder), every=4, num_thoughts=[0, 1])


def test_the_best_checkpoint_is_kept(
    write_rows: Write, rows_of: Rows, train_config: Config, evaluation: EvaluationSettings, monkeypatch: Any
) -> None:
    """Judged by the last number of thoughts; here the second of three evaluations is made the best."""
    from o1_retriever.training import trainer

    plain, results = trainer.evaluate, iter([0.3, 0.9, 0.5])

    def fixed(*args: Any, **kwargs: Any) -> dict[str, float]:
        assert set(plain(*args, **kwargs)) == {"ndcg@10_k0", "ndcg@10_k1", "seconds"}
        return {"ndcg@10_k0": 0.0, "ndcg@10_k1": next(results), "seconds": 1.0}

    monkeypatch.setattr(trainer, "evaluate", fixed)
    config = train_config(write_rows(rows_of(16)), run={"steps": 10, "learning_rate": 1e-3}, evaluation=evaluation)
    folder = train(config)
    assert json.loads((folder / "checkpoints/best/metric.json").read_text()) == {"metric": 0.9, "step": 8}
    best, last = (
        load_file(folder / name) for name in ("model.safetensors", "checkpoints/checkpoint-10/model.safetensors")
    )
    assert any(not torch.equal(best[key], last[key]) for key in best)
    assert "| 8 | 0.0000 | 0.9000 |" in (folder / "README.md").read_text()


def test_evaluation_leaves_training_as_it_was(
    write_rows: Write, rows_of: Rows, train_config: Config, evaluation: EvaluationSettings
) -> None:
    file = write_rows(rows_of(16))
    run = {"steps": 8, "learning_rate": 1e-3}
    model = {"tuning": "lora", "lora_dropout": 0.3}
    watched = train(train_config(file, "watched", run=run, model=model, evaluation=evaluation))
    alone = train(train_config(file, "alone", run=run, model=model))
    one, two = (load_file(f / "checkpoints/checkpoint-8/adapter_model.safetensors") for f in (watched, alone))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_an_output_folder_that_is_taken(write_rows: Write, rows_of: Rows, train_config: Config, changed: Any) -> None:
    file = write_rows(rows_of(16))
    config = train_config(file)
    train(config)
    with pytest.raises(InvalidInputError, match="is finished"):
        train(config)
    with pytest.raises(InvalidInputError, match=r"another run \(config.run.learning_rate: 0.0001 there, 0.5 now\)"):
        train(changed(config, run={"learning_rate": 0.5}))
    write_rows(rows_of(17))
    with pytest.raises(InvalidInputError, match="another run"):
        train(config)
    other = Path(config.output).with_name("other")
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    with pytest.raises(InvalidInputError, match="not an empty folder"):
        train(train_config(file, "other"))
    assert (other / "thesis.tex").read_text() == "years of work"


def test_data_and_models_that_cannot_be_used(
    write_rows: Write, rows_of: Rows, train_config: Config, tmp_path: Path, model_factory: Any, tokenizer_factory: Any
) -> None:
    rows = rows_of(8)
    bad = [*rows, {"query": "no positives", "pos": [], "neg": ["n"]}]
    with pytest.raises(DatasetError, match=r"rows\.jsonl:9"):
        train(train_config(write_rows(bad)))
    assert not (tmp_path / "out").exists(), "nothing is begun with bad data"
    train(train_config(write_rows(bad), data={"max_bad_rows": 1}))
    file = write_rows(rows)
    with pytest.raises(InvalidInputError, match=r"names rows, web; the rows come from rows: name each"):
        train(train_config(file, "shares", data={"shares": {"rows": 0.5, "web": 0.5}}))
    with pytest.raises(InvalidInputError, match="512 positions"):
        train(train_config(file, "shares", data={"max_thought_tokens": 600}))
    with pytest.raises(InvalidInputError, match="transformers refuses"):
        train(train_config(file, "shares", run={"scheduler": "sideways"}))
    with pytest.raises(CheckpointError, match="float16"):
        train(train_config(file, "shares", model={"dtype": "float16"}))
    with pytest.raises(InvalidInputError, match="several processes"):
        train(train_config(file, "shares", run={"fsdp": "fsdp"}))
    with pytest.raises(InvalidInputError, match="length_groups"):
        train(train_config(file, "shares", run={"fsdp": "fsdp", "length_groups": 2}))
    with pytest.raises(InvalidInputError, match=r"own_thoughts\.share"):
        train_config(file, "shares", model={"teacher": "any"}, loss={"teacher_own_weight": 1.0})
    train(train_config(file, "shares"))  # nothing that failed before it has left a folder that refuses it
    tokenizer = tokenizer_factory("qwen2")
    tokenizer.eos_token = None
    for part in (tokenizer, model_factory("qwen2")):
        part.save_pretrained(tmp_path / "no_eos")
    with pytest.raises(CheckpointError, match="no EOS token"):
        train(train_config(file, "eos", model={"base": str(tmp_path / "no_eos")}))


@pytest.mark.parametrize("family", ["qwen2", "bert"])
def test_a_base_without_our_tokens_or_a_pad_token(
    family: str,
    write_rows: Write,
    rows_of: Rows,
    train_config: Config,
    tmp_path: Path,
    model_factory: Any,
    tokenizer_factory: Any,
    recwarn: pytest.WarningsRecorder,
) -> None:
    tokenizer = tokenizer_factory(family)
    tokenizer.pad_token = None
    for part in (tokenizer, model_factory(family)):
        part.save_pretrained(tmp_path / "base")
    folder = train(train_config(write_rows(rows_of(8)), model={"base": str(tmp_path / "base"), "tuning": "lora"}))
    assert not [w for w in recwarn if "special tokens of an O1" in str(w.message)]
    embedder = O1Embedder.from_pretrained(folder)
    assert embedder.checkpoint.tokenizer.get_vocab().keys() >= {"<emb>", "<thought>"}
    assert embedder.encode_query("q", 2).shape == (32,)


def test_rows_at_the_edge_of_what_is_allowed_train(
    write_rows: Write, rows_of: Rows, train_config: Config, tiny_folder: str
) -> None:
    """Without negatives, with a thought of 10,000 tokens, and with what is a special token elsewhere, as text."""
    rows = rows_of(16)
    for row in rows[:8]:
        row["neg"] = []
    rows[1]["thought"] = "t" * 10_000
    rows[2] |= {"query": "<query> q <emb>", "thought": "</query> t <emb> t"}
    folder = train(train_config(write_rows(rows), data={"thought_dropout": 0.0}))
    losses = [entry["loss"] for entry in json.loads((folder / "history.json").read_text()) if "loss" in entry]
    assert len(losses) == 4 and np.isfinite(losses).all()
    base, trained = O1Embedder.from_pretrained(tiny_folder), O1Embedder.from_pretrained(folder)
    assert trained.checkpoint.tokenizer.get_vocab() == base.checkpoint.tokenizer.get_vocab(), "it had the tokens"
    rows_before, rows_after = (len(e.model.get_input_embeddings().weight) for e in (base, trained))
    assert rows_before == rows_after


def test_a_loss_that_is_not_finite_names_its_rows(
    write_rows: Write, rows_of: Rows, train_config: Config, make_embedder: Any, tmp_path: Path
) -> None:
    embedder, rows = make_embedder(), rows_of(16)
    rows[4]["query"] = "ZZZ"
    with torch.no_grad():
        embedder.model.get_input_embeddings().weight[embedder.prompts.text_ids(["Z"], 1).ids[0][0]] = float("nan")
    embedder.save_pretrained(tmp_path / "damaged")
    config = train_config(write_rows(rows), model={"base": str(tmp_path / "damaged")})
    with pytest.raises(NonFiniteLossError, match=r"not finite; rows concerned: \S+rows\.jsonl:5\. Look"):
        train(config)


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(
    write_rows: Write, rows_of: Rows, train_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = JointTrainer.training_step

    def poisoned(self: JointTrainer, *args: Any, **kwargs: Any) -> Any:
        loss = plain(self, *args, **kwargs)
        if self.state.global_step == 3:
            next(p for p in self.causal.parameters() if p.grad is not None).grad.view(-1)[0] = float("nan")  # type: ignore[union-attr]
        return loss

    monkeypatch.setattr(JointTrainer, "training_step", poisoned)
    config = train_config(write_rows(rows_of(16)))
    with pytest.raises(NonFiniteLossError, match=r"gradient is not finite; rows of the batch: .*rows\.jsonl"):
        train(config)
    [good] = complete_checkpoints(Path(config.output) / "checkpoints")
    assert all(tensor.isfinite().all() for tensor in load_file(good / "model.safetensors").values())


def test_best_is_put_back_after_a_kill(tmp_path: Path) -> None:
    best, old, partial = (tmp_path / name for name in ("best", "best.old", "best.partial"))
    for folder in (old, partial):
        folder.mkdir()
        (folder / "metric.json").write_text(folder.name)
    tidy(tmp_path)
    assert (best / "metric.json").read_text() == "best.old" and not old.exists() and not partial.exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(folder)]
    if subprocess.run(options, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_leaves_the_last_good_checkpoint(
    small_disk: Path, write_rows: Write, rows_of: Rows, train_config: Config
) -> None:
    """Room for one checkpoint of some 400 kB and not for two."""
    config = train_config(write_rows(rows_of(16)), str(small_disk / "out"), run={"steps": 6})
    with pytest.raises(
        StorageError, match=r"checkpoint-4 cannot be written.*checkpoint-2 is complete.*Free some space"
    ):
        train(config)
    assert [p.name for p in complete_checkpoints(small_disk / "out" / "checkpoints")] == ["checkpoint-2"]
    assert not (small_disk / "out/checkpoints/checkpoint-4").exists()
    assert subprocess.run(["mount", "-o", "remount,size=30m", str(small_disk)], capture_output=True).returncode == 0
    O1Embedder.from_pretrained(train(config)).encode_query("goes on")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"data": {"group_size": 0}}, "group_size must be at least 1"),
        ({"data": {"shares": {"a": 0.7, "b": 0.7}}}, "add up to 1"),
        ({"loss": {"contrastive_weight": 1.5}}, "between 0.0 and 1.0"),
        ({"run": {"precision": "fp8"}}, "one of float32, bfloat16"),
        ({"run": {"deepspeed": "x.json", "chunk_size": 4}}, "does not work with run.deepspeed"),
        ({"model": {"tuning": "half"}}, "one of lora, full"),
    ],
)
def test_settings_are_checked(sections: dict[str, Any], message: str, train_config: Config) -> None:
    with pytest.raises(O1Error, match=message):
        train_config("rows.jsonl", **sections)
