"""`make bench-training`: one shared forward pass against two separate ones, and the gradient cache against plain steps.

Separate is how GritLM trains (arXiv 2402.09906): one pass over the query side for generation, another for embedding.
Both sides run on the same model and batch, taking turns; peak memory is measured in a process of its own. Exits 1 if a
target is missed.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

from benchmarks.timing import Ratio, alternate
from benchmarks.training_batches import HALF_BILLION, MINI, Shape, Template, examples, model_of
from o1_retriever.training import losses
from o1_retriever.training.batch import Assembler, JointBatch, Labels
from o1_retriever.training.config import DataSettings, LossSettings
from o1_retriever.training.step import JointStep

CPU = torch.device("cpu")
Work = Callable[[], object]


def autocast(shape: Shape) -> AbstractContextManager[object]:
    """bfloat16, as `run.precision: bfloat16` trains; weights that are bfloat16 already need none."""
    return torch.autocast("cpu", torch.bfloat16) if shape.dtype == torch.float32 else nullcontext()


def assembler() -> Assembler:
    multiple = DataSettings(files=["none"]).pad_to_multiple
    return Assembler(Template(), multiple, LossSettings())  # type: ignore[arg-type]


def without_labels(batch: JointBatch) -> JointBatch:
    """The same rows for embedding alone."""
    none = torch.empty(0, dtype=torch.long)
    return dataclasses.replace(batch, labels=Labels(none, none, none))


def query_side(shape: Shape, queries: int) -> tuple[Work, Work]:
    """(separate, shared) forward and backward of both losses over the query side, against fixed passage vectors."""
    model, size = model_of(shape), shape.config.hidden_size
    batch = dataclasses.replace(assembler()(examples(queries, 1, 30000), {}), passages=None)
    passages = torch.nn.functional.normalize(torch.randn(queries * 16, size), dim=-1)
    positives = torch.arange(queries) * 16

    def joint(vectors: Tensor, nll: Tensor) -> None:
        contrastive = losses.info_nce(vectors, passages, positives, 0.02).mean()
        losses.joint(contrastive, nll.mean(), 0.8).backward()
        model.zero_grad(set_to_none=True)

    def shared() -> None:
        with autocast(shape):
            result = model(joint_batch=batch)
        joint(result["queries"], result["nll"])

    def separate() -> None:
        with autocast(shape):
            nll = model(joint_batch=batch)["nll"]
            vectors = model(joint_batch=without_labels(batch))["queries"]
        joint(vectors, nll)

    return separate, shared


def whole_step(shape: Shape, queries: int, group: int) -> tuple[Work, Work]:
    """(separate, shared) whole steps with passages."""
    model = model_of(shape)
    batch = assembler()(examples(queries, group, 30000), {})
    written = dataclasses.replace(batch, passages=None)
    positives = torch.arange(queries) * group

    def finish(result: dict[str, Tensor], nll: Tensor) -> None:
        contrastive = losses.info_nce(result["queries"], result["passages"], positives, 0.02).mean()
        losses.joint(contrastive, nll.mean(), 0.8).backward()
        model.zero_grad(set_to_none=True)

    def shared() -> None:
        with autocast(shape):
            result = model(joint_batch=batch)
        finish(result, result["nll"])

    def separate() -> None:
        with autocast(shape):
            nll = model(joint_batch=written)["nll"]
            result = model(joint_batch=without_labels(batch))
        finish(result, nll)

    return separate, shared


def step(shape: Shape, queries: int, chunk: int) -> Work:
    """A whole training step through `JointStep`, groups of 2, with the gradient cache where `chunk` is not 0."""
    model: nn.Module = model_of(shape)
    made = examples(queries, 2, 30000)
    joint = JointStep(model, LossSettings(), assembler(), chunk, Tensor.backward, nullcontext, CPU)

    forward = model.forward

    def under_autocast(*args: Any, **kwargs: Any) -> Any:
        with autocast(shape):  # per forward pass, as accelerate does
            return forward(*args, **kwargs)

    model.forward = under_autocast

    def run() -> None:
        joint.run(made, {})
        model.zero_grad(set_to_none=True)

    return run


CASES: dict[str, Callable[[], Any]] = {
    "mini query separate": lambda: query_side(MINI, 32)[0],
    "mini query shared": lambda: query_side(MINI, 32)[1],
    "half query separate": lambda: query_side(HALF_BILLION, 8)[0],
    "half query shared": lambda: query_side(HALF_BILLION, 8)[1],
    "cache 32": lambda: step(MINI, 32, 16),
    "cache 256": lambda: step(MINI, 256, 16),
    "plain 32": lambda: step(MINI, 32, 0),
}


def peak_memory(case: str) -> float:
    """MiB above the loaded model that one run of a case needs at most, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.training", "--memory-of", case]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def measure_memory(case: str) -> None:
    work = CASES[case]()
    gc.collect()
    before = _status("VmRSS")
    work()
    print(json.dumps(_status("VmHWM") - before))


def _status(field: str) -> float:
    """MiB, from Linux's /proc; `ru_maxrss` of a started process would hold its parent's peak."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def show(title: str, ratio: Ratio, limit: float | None, memory: tuple[float, float] | None = None) -> bool:
    """Prints ours over the reference's time; returns whether the limit holds."""
    share = ratio.ours_s / ratio.reference_s
    told = f"{ratio.reference_s:8.2f} s {ratio.ours_s:8.2f} s   {share:5.2f} of the time"
    told += f" (at most {limit})" if limit else ""
    told += f"; memory {memory[0]:,.0f} and {memory[1]:,.0f} MiB" if memory else ""
    print(f"{title:<62}{told}", flush=True)
    return limit is None or share <= limit


def run(rounds: int, large: bool) -> bool:
    """All cases; returns whether every target is met."""
    met = []
    print(f"{'query side, forward and backward: separate, shared':<62}")
    for shape, key, queries, limit in ((MINI, "mini", 32, 0.75), (HALF_BILLION, "half", 8, 0.65)):
        if shape is MINI or large:
            memory = peak_memory(f"{key} query separate"), peak_memory(f"{key} query shared")
            ratio = alternate(shape.name, *query_side(shape, queries), rounds, 1.0)
            met.append(show(f"  {shape.name}", ratio, limit, memory))
    print("whole step with passages: separate, shared")
    for shape, queries in ((MINI, 8), (HALF_BILLION, 1)):
        for group in (2, 16) if shape is MINI or large else ():
            ratio = alternate(shape.name, *whole_step(shape, queries, group), max(1, rounds - 1), 1.0)
            show(f"  {shape.name}, {queries} x {group}", ratio, None)
    print("gradient cache on the mini shape, groups of 2, chunks of 16 queries: plain, cached")
    ratio = alternate("cache", step(MINI, 32, 0), step(MINI, 32, 16), rounds, 1.0)
    met.append(show("  batch 32", ratio, 1.4, (peak_memory("plain 32"), peak_memory("cache 32"))))
    small, big = peak_memory("cache 32"), peak_memory("cache 256")
    print(f"  memory at batch 256: {big:,.0f} MiB, {big / small:.2f} of that at batch 32 (at most 1.2)")
    return all(met) and big <= 1.2 * small


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side per case")
    parser.add_argument("--without-large", action="store_true", help="leave the 0.5B shape out")
    parser.add_argument("--memory-of", choices=sorted(CASES), help=argparse.SUPPRESS)
    args = parser.parse_args()
    transformers_logging.disable_progress_bar()
    if args.memory_of:
        measure_memory(args.memory_of)
        return 0
    start = time.perf_counter()
    print(
        f"{torch.get_num_threads()} threads, torch {torch.__version__}; mini under bfloat16 autocast, 0.5B in bfloat16"
    )
    met = run(args.rounds, not args.without_large)
    print(f"{time.perf_counter() - start:.0f} s")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
