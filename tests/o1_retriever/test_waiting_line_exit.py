"""A process that ends while a batch is at work: the batch ends first, within a bound."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """
import sys, threading, time
import numpy as np
from pathlib import Path
from types import SimpleNamespace
from o1_retriever import ThinkingConfig, waiting_line
from o1_retriever.micro_batching import MicroBatcher
from o1_retriever.query_encoding import QueryEncoding

seconds, waiting_line.EXIT_SECONDS, ended = float(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
at_work = threading.Event()

class Slow:
    thinker, config = None, SimpleNamespace(thinking=ThinkingConfig())

    def encode_query(self, queries, **settings):
        at_work.set()
        time.sleep(seconds)
        ended.touch()
        return QueryEncoding(np.zeros((1, 2), np.float32), [[]], [np.zeros((1, 2))], [False])

batcher = MicroBatcher(Slow())
threading.Thread(target=batcher.encode_query, args=("query",), daemon=True).start()
assert at_work.wait(30)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("works", "bound", "finishes"), [(0.5, 30.0, True), (300.0, 0.2, False)])
def test_a_batch_at_work_ends_before_the_process(works: float, bound: float, finishes: bool, tmp_path: Path) -> None:
    ended, start = tmp_path / "ended", time.monotonic()
    command = [sys.executable, "-c", SCRIPT, str(works), str(bound), str(ended)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert ended.exists() is finishes
    assert time.monotonic() - start < 100
