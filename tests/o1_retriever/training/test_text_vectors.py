"""A teacher's vectors on disk: found by their text, the same as encoded anew, refused where they are another's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from o1_retriever.encoders import MINILM
from o1_retriever.errors import CheckpointError
from o1_retriever.training import text_vectors
from o1_retriever.training.teacher import Teacher
from o1_retriever.training.text_vectors import TextVectors, write_text_vectors

TEXTS = ["a fox", "a dog", "a lone \ud800 surrogate", "a fox"]
VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3)


def test_found_by_text(tmp_path: Path) -> None:
    write_text_vectors(tmp_path / "v", "key", TEXTS, VECTORS)
    there, found = TextVectors(tmp_path / "v", "key").find(["a cat", TEXTS[2], "a dog", "zebra", "a fox"])
    assert there.tolist() == [False, True, True, False, True]
    assert found.tolist() == [VECTORS[2].tolist(), VECTORS[1].tolist(), VECTORS[0].tolist()]
    there, found = TextVectors(tmp_path / "v", "key").find(["a cat"])
    assert there.tolist() == [False] and found.shape == (0, 3)


def test_another_encoder_or_damage(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    with pytest.raises(CheckpointError, match="no complete vectors"):
        TextVectors(folder, "key")
    write_text_vectors(folder, "key", TEXTS, VECTORS)
    with pytest.raises(CheckpointError, match="another encoder's"):
        TextVectors(folder, "other key")
    (folder / "vectors.npy").write_bytes((folder / "vectors.npy").read_bytes()[:100])
    with pytest.raises(CheckpointError, match="cannot be read"):
        TextVectors(folder, "key")
    np.save(folder / "vectors.npy", VECTORS[:1])
    with pytest.raises(CheckpointError, match="not as many"):
        TextVectors(folder, "key")
    write_text_vectors(folder, "key", [], VECTORS[:0])
    with pytest.raises(CheckpointError, match="none"):
        TextVectors(folder, "key")


def test_a_kill_while_writing_leaves_no_mixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other vectors under the old encoder's name would train towards the wrong teacher."""
    write_text_vectors(tmp_path, "old", TEXTS, VECTORS)
    real, written = text_vectors.write_whole, []

    def killed(path: Path, content: bytes) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(path.name)
        real(path, content)

    monkeypatch.setattr(text_vectors, "write_whole", killed)
    with pytest.raises(KeyboardInterrupt):
        write_text_vectors(tmp_path, "new", TEXTS, VECTORS + 1)
    assert written == ["vectors.npy"]
    with pytest.raises(CheckpointError, match="no complete vectors"):
        TextVectors(tmp_path, "old")


def test_teacher_reads_what_it_knows(tmp_path: Path) -> None:
    """Marked vectors come back as they are; the rest is encoded."""
    cpu = torch.device("cpu")
    plain = Teacher(MINILM, cpu, "float32", 384)
    marked = np.eye(2, 384, dtype=np.float32)
    write_text_vectors(tmp_path, plain.key, ["a fox", "a dog"], marked)
    found = Teacher(MINILM, cpu, "float32", 384, tmp_path).passages(["a dog", "a cat", "a fox"])
    torch.testing.assert_close(found[[2, 0]], torch.from_numpy(marked))
    torch.testing.assert_close(found[1:2], plain.passages(["a cat"]))
    with pytest.raises(CheckpointError, match="another encoder's"):
        write_text_vectors(tmp_path, "else", ["a"], marked[:1])
        Teacher(MINILM, cpu, "float32", 384, tmp_path)
