"""An evaluation killed in the middle goes on where it was and ends with the same figures."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

SCRIPT = """
import sys, time
from pathlib import Path
from o1_eval.experiment import run_retrieval
from o1_eval.report import write_report
from o1_eval.retrieval import Material, RetrievalConfig
from o1_retriever import O1Embedder

data, out, model, baseline, pause = sys.argv[1:]
encode = O1Embedder.encode_document
def slowly(self, *args, **kwargs):
    time.sleep(float(pause))
    return encode(self, *args, **kwargs)
O1Embedder.encode_document = slowly
config = RetrievalConfig(Path(data), "dev", Path(out) / "cache", (0, 2), baseline=baseline, chunk=4)
report = run_retrieval(config, Material.read(config), O1Embedder.from_pretrained(model, device="cpu"), "test")
write_report(report, Path(out))
"""
CHUNKS = 5
"""18 passages, 4 in a file."""


def command(data: Path, out: Path, model: str, baseline: str, pause: float) -> list[str]:
    return [sys.executable, "-c", SCRIPT, str(data), str(out), model, baseline, str(pause)]


def wait_for_chunks(out: Path, number: int, process: subprocess.Popen[bytes]) -> list[Path]:
    """Chunks of the O1 model, recognised by its width."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        found = [path for path in sorted(out.glob("cache/passages/*/*.npy")) if np.load(path).shape[1] == 32]
        if len(found) >= number:
            return found
        time.sleep(0.02)
    raise AssertionError("the evaluation ended or hung before it could be killed")


@pytest.mark.slow
def test_kill_and_go_on(data: Path, tmp_path: Path, tiny_folder: str, tiny_baseline: str) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run(command(data, whole, tiny_folder, tiny_baseline, 0), check=True, capture_output=True)
    process = subprocess.Popen(command(data, broken, tiny_folder, tiny_baseline, 1.0), stderr=subprocess.DEVNULL)
    kept = wait_for_chunks(broken, 2, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(kept) < CHUNKS
    assert not (broken / "results.json").exists()
    times = {path: path.stat().st_mtime_ns for path in kept}

    subprocess.run(command(data, broken, tiny_folder, tiny_baseline, 0), check=True, capture_output=True)
    assert {path: path.stat().st_mtime_ns for path in kept} == times
    for path in sorted(whole.glob("runs/*.trec")):
        assert path.read_bytes() == (broken / "runs" / path.name).read_bytes(), path.name
    tables = [json.loads((out / "results.json").read_text())["tables"][0]["rows"] for out in (whole, broken)]
    assert [row["measures"] for row in tables[0]] == [row["measures"] for row in tables[1]]
