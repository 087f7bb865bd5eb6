"""Several processes, and processes that are killed: real ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from o1_retriever import O1Embedder

Rows = Callable[[int], list[dict[str, Any]]]
Write = Callable[..., str]
SINGLE = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
TORCHRUN += ["--rdzv-endpoint", "localhost:0"]

WORKER = """
import sys
from contextlib import nullcontext
from pathlib import Path
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from o1_retriever import O1Embedder
from o1_retriever.training import distributed
from o1_retriever.training.batch import Assembler
from o1_retriever.training.config import DataSettings, LossSettings, OwnThoughtSettings
from o1_retriever.training.examples import Examples
from o1_retriever.training.joint import install
from o1_retriever.training.rows import TrainingRows
from o1_retriever.training.schedule import Schedule
from o1_retriever.training.step import JointStep

base, file, output, chunk = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
if "WORLD_SIZE" in __import__("os").environ:
    torch.distributed.init_process_group("gloo")
embedder = O1Embedder.from_pretrained(base)
rows = TrainingRows.open([Path(file)])
data = DataSettings(files=[file], group_size=3)
examples = Examples(rows, Schedule(rows.sources, 8, 0), 8, embedder.prompts, data, OwnThoughtSettings(), 0)
share = 8 // distributed.world()
mine = [examples[distributed.rank() * share + i] for i in range(share)]
install(embedder.model)
model = embedder.model if distributed.world() == 1 else DistributedDataParallel(embedder.model)
no_sync = getattr(model, "no_sync", nullcontext)
settings = LossSettings(no_thought_weight=0.5)
assembler = Assembler(embedder.prompts, 8, settings)
step = JointStep(model, settings, assembler, chunk, Tensor.backward, no_sync, torch.device("cpu"))
values = step.run(mine, {})
generation = distributed.gather(values["generation"][None]).mean()
if distributed.rank() == 0:
    gradients = {n: p.grad for n, p in embedder.model.named_parameters()}
    torch.save({"contrastive": values["contrastive"], "generation": generation, "gradients": gradients}, output)
distributed.leave()
"""


def run(command: list[str], **environment: str) -> str:
    found = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **SINGLE, **environment}, timeout=120
    )
    assert found.returncode == 0, found.stderr[-3000:]
    return found.stdout + found.stderr


def arguments(base: str, file: str, output: Path, **settings: Any) -> list[str]:
    given = {
        "output": output,
        "model.base": base,
        "model.tuning": "full",
        "data.files": json.dumps([file]),
        "data.group_size": 3,
        "run.log_every": 1,
        "run.learning_rate": 1e-3,
        **settings,
    }
    return ["train", *[part for name, value in given.items() for part in (f"--{name}", str(value))]]


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [0, 2])
def test_two_processes_differentiate_the_same_loss(
    chunk: int, tiny_folder: str, write_rows: Write, rows_of: Rows, tmp_path: Path
) -> None:
    """Loss and gradients of a global batch of 8 on gloo, cross-device negatives, plain and cached: equal to 1e-5."""
    rows = rows_of(8)
    rows[3]["thought"] = ""  # the processes have different numbers of labels
    script, file = tmp_path / "worker.py", write_rows(rows)
    script.write_text(WORKER)
    results = []
    for name, launcher in (("one", [sys.executable]), ("two", TORCHRUN)):
        run([*launcher, str(script), tiny_folder, file, str(tmp_path / name), str(chunk if name == "two" else 0)])
        results.append(torch.load(tmp_path / name, weights_only=True))
    one, two = results
    for term in ("contrastive", "generation"):
        torch.testing.assert_close(two[term], one[term], rtol=1e-5, atol=1e-6)
    for name, gradient in one["gradients"].items():
        assert (two["gradients"][name] - gradient).norm() <= 1e-5 * gradient.norm().clamp(min=1e-6), name


@pytest.mark.slow
def test_two_processes_train_as_one(tiny_folder: str, write_rows: Write, rows_of: Rows, tmp_path: Path) -> None:
    """The command itself, with own thoughts: the losses of every step agree."""
    file = write_rows(rows_of(24))
    histories = []
    for name, launcher, batch in (("one", [sys.executable], 8), ("two", TORCHRUN, 4)):
        settings = {"run.steps": 6, "run.batch_size": batch, "own_thoughts.share": 0.5, "own_thoughts.every": 3}
        settings["own_thoughts.thinking.max_new_tokens"] = 5
        run([*launcher, "-m", "o1_retriever.cli", *arguments(tiny_folder, file, tmp_path / name, **settings)])
        histories.append([e for e in json.loads((tmp_path / name / "history.json").read_text()) if "contrastive" in e])
    for one, two in zip(*histories, strict=True):
        assert one["contrastive"] == pytest.approx(two["contrastive"], rel=1e-3)
        assert one["generation"] == pytest.approx(two["generation"], rel=1e-3)


@pytest.mark.slow
def test_a_process_without_labels_does_not_stop_the_others(
    write_rows: Write, rows_of: Rows, tmp_path: Path, make_embedder: Callable[..., O1Embedder]
) -> None:
    """Half of the rows have no thought, one query a process, an untied head: a step may have labels in one alone."""
    make_embedder("qwen2", False).save_pretrained(tmp_path / "untied")
    rows = rows_of(16)
    for row in rows[::2]:
        row["thought"] = ""
    settings = {"run.steps": 12, "run.batch_size": 2, "run.chunk_size": 1}
    base, file = str(tmp_path / "untied"), write_rows(rows)
    run([*TORCHRUN, "-m", "o1_retriever.cli", *arguments(base, file, tmp_path / "out", **settings)])
    assert O1Embedder.from_pretrained(tmp_path / "out").encode_query("q", 1).shape == (32,)


@pytest.mark.slow
def test_killed_and_resumed_ends_with_the_same_weights(
    tiny_folder: str, write_rows: Write, rows_of: Rows, tmp_path: Path
) -> None:
    """kill -9 three times, at any moment after a checkpoint: sampler, own thoughts and random states go on."""
    file = write_rows(rows_of(40))
    settings = {"run.steps": 40, "run.save_every": 7, "run.batch_size": 8, "own_thoughts.share": 0.5}
    settings |= {"own_thoughts.every": 9, "own_thoughts.thinking.max_new_tokens": 5, "run.chunk_size": 3}
    command = [sys.executable, "-m", "o1_retriever.cli"]
    run([*command, *arguments(tiny_folder, file, tmp_path / "one", **settings)])
    killed = [*command, *arguments(tiny_folder, file, tmp_path / "two", **settings)]
    for checkpoint, delay in ((7, 0.0), (14, 0.1), (21, 0.05)):
        process = subprocess.Popen(killed, env={**os.environ, **SINGLE}, stderr=subprocess.PIPE, text=True)
        mark = tmp_path / "two" / "checkpoints" / f"checkpoint-{checkpoint}" / "complete"
        while not mark.exists():
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.005)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
    run(killed)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(one[key], two[key], rtol=0, atol=1e-6) for key in one)


@pytest.mark.slow
def test_fsdp_trains_on_two_processes(tiny_folder: str, write_rows: Write, rows_of: Rows, tmp_path: Path) -> None:
    """From the settings that ship; the finished model loads and has learned what two plain processes learn."""
    file = write_rows(rows_of(16))
    plain, sharded = tmp_path / "plain", tmp_path / "sharded"
    settings = {"run.steps": 4, "run.batch_size": 4}
    for folder, extra in ((plain, {}), (sharded, {"run.fsdp": "fsdp"})):
        run([*TORCHRUN, "-m", "o1_retriever.cli", *arguments(tiny_folder, file, folder, **settings, **extra)])
    one, two = (load_file(folder / "model.safetensors") for folder in (plain, sharded))
    assert one.keys() == two.keys()
    assert all(torch.allclose(one[key], two[key], rtol=0, atol=1e-4) for key in one)
    assert O1Embedder.from_pretrained(sharded).encode_query("loads").shape == (32,)
