"""`o1 export`: any checkpoint as full weights in one folder, an adapter merged, in the dtype asked for.

Loading, merging and writing are `checkpoint.py`'s; here are the dtype and what changes with it.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from o1_retriever.errors import CheckpointError

if TYPE_CHECKING:
    import torch

    from o1_retriever.checkpoint import Checkpoint

logger = logging.getLogger(__name__)

DTYPES = ("float16", "bfloat16", "float32")
AUTO = "auto"


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: where it lies.
        dtype: of the weights.
        size: of all files, in bytes.
        passage_fingerprint: that an index made with the new folder will hold.
        source_fingerprint: that indexes made with the source hold.
        rounded: whether the dtype changed a weight.
    """

    folder: Path
    dtype: str
    size: int
    passage_fingerprint: str
    source_fingerprint: str
    rounded: bool


class ExportCommand:
    """Writes a checkpoint as full weights."""

    help = "write a checkpoint as full weights, an adapter merged into its base, in another dtype if wanted"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("source", type=str, help="bundled model, folder or hub id; full weights or a PEFT adapter")
        parser.add_argument("--output", type=str, required=True, help="folder to write; it must be new or empty")
        parser.add_argument(
            "--dtype", type=str, default=AUTO, help=f"{', '.join(DTYPES)}, or auto: as the weights are stored"
        )

    def run(self, args: Namespace) -> int:
        from transformers.utils import logging as transformers_logging  # imported here, so that help is quick

        transformers_logging.disable_progress_bar()
        exported = export(args.source, args.output, args.dtype)
        facts = {
            "folder": exported.folder,
            "dtype": exported.dtype,
            "size": f"{exported.size / 1e6:.1f} MB",
            "passage_fingerprint": exported.passage_fingerprint,
        }
        print("\n".join(f"{name:<20} {value}" for name, value in facts.items()))
        return 0


def export(source: str | os.PathLike[str], output: str | os.PathLike[str], dtype: str = AUTO) -> Exported:
    """Writes a checkpoint's full weights, tokenizer and `o1_config.json`; logs a warning if indexes become useless.

    Args:
        source: see `load_checkpoint`; an adapter is merged into its base.
        output: a folder that is new or empty; it appears whole or not at all.
        dtype: one of `DTYPES`, or "auto", as the weights (of an adapter: its base's) are stored.

    Raises:
        ModelNotFoundError: nothing goes by the source's name.
        CheckpointError: the source cannot be used, the output is taken, the dtype is unknown or too narrow for the
            weights, or the disk refuses.
    """
    from o1_retriever.checkpoint import load_checkpoint, refuse_taken, save_checkpoint

    if dtype not in (*DTYPES, AUTO):
        raise CheckpointError(f"Unknown dtype {dtype!r}: use one of {', '.join((*DTYPES, AUTO))}.")
    refuse_taken(Path(output))  # `save_checkpoint` would do it after minutes of loading
    # "auto" merges an adapter in its base's dtype; a named dtype merges in float32 and rounds once, visibly
    checkpoint = load_checkpoint(source, device="cpu", dtype=AUTO if dtype == AUTO else "float32")
    rounded = dtype != AUTO and _convert(checkpoint, dtype)
    exported = _describe(save_checkpoint(checkpoint, output), checkpoint, rounded)
    _warn_of_change(exported, checkpoint.source)
    return exported


def _convert(checkpoint: Checkpoint, name: str) -> bool:
    """Converts the weights in place; returns whether any of them was rounded."""
    import torch

    dtype: torch.dtype = getattr(torch, name)
    rounded = False
    for weight_name, weight in checkpoint.model.named_parameters():
        converted = weight.detach().to(dtype)
        if not bool(converted.isfinite().all()):
            raise CheckpointError(
                f"{weight_name} of {checkpoint.source} holds values that {name} cannot: use bfloat16 or float32."
            )
        rounded = rounded or not torch.equal(converted.to(weight.dtype), weight.detach())
    checkpoint.model.to(dtype)  # type: ignore[arg-type]
    return rounded


def _describe(folder: Path, checkpoint: Checkpoint, rounded: bool) -> Exported:
    from o1_retriever import fingerprints
    from o1_retriever.locating import tokenizer_files, weight_files

    def fingerprint(weights: str, tokenizer: str) -> str:
        dimension = int(checkpoint.model.config.hidden_size)
        return fingerprints.passage_fingerprint(weights, tokenizer, checkpoint.config, dimension)

    hashes = (fingerprints.hash_files(files(folder)) for files in (weight_files, tokenizer_files))
    return Exported(
        folder=folder,
        dtype=str(checkpoint.model.dtype).removeprefix("torch."),
        size=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        passage_fingerprint=fingerprint(*hashes),
        source_fingerprint=fingerprint(checkpoint.weights_hash, checkpoint.tokenizer_hash),
        rounded=rounded,
    )


def _warn_of_change(exported: Exported, source: str) -> None:
    """An index is bound to the files of its model: merging or rounding makes another model of it."""
    if exported.rounded:
        logger.warning("the weights of %s were rounded to %s: vectors differ slightly", source, exported.dtype)
    if exported.passage_fingerprint != exported.source_fingerprint:
        logger.warning(
            "the passage fingerprint is no longer that of %s (%s): indexes made with it must be made anew",
            source,
            exported.source_fingerprint,
        )
