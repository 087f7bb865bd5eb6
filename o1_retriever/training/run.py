"""A whole training run: data, model, trainer, and the finished model in its folder. What `o1 train` calls.

The same call with the same settings goes on where the run was stopped.
"""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import TrainingArguments, set_seed

from o1_retriever.checkpoint import default_device
from o1_retriever.encoding import context_of
from o1_retriever.errors import InvalidInputError, MissingDependencyError
from o1_retriever.prompts import PromptBuilder
from o1_retriever.training import checkpoints, distributed
from o1_retriever.training.config import TrainConfig
from o1_retriever.training.evaluation import EvaluationData
from o1_retriever.training.examples import Examples
from o1_retriever.training.model_card import write_card
from o1_retriever.training.plots import plot_history
from o1_retriever.training.rows import load_rows
from o1_retriever.training.run_folder import RunFolder, describe
from o1_retriever.training.schedule import Schedule
from o1_retriever.training.sharding import sharding_file
from o1_retriever.training.teacher import Teacher
from o1_retriever.training.trainable import load_base, make_trainable
from o1_retriever.training.trainer import JointTrainer


def train(config: TrainConfig) -> Path:
    """Trains to the end; returns the folder that `O1Embedder.from_pretrained` loads.

    Raises:
        O1Error: data, model, settings or disk cannot be used, or the loss is not finite.
    """
    _check_installed()
    _check_sharding(config)
    arguments = training_arguments(config)
    if distributed.world() == 1:
        arguments._n_gpu = min(1, arguments.n_gpu)  # several GPUs want torchrun; DataParallel knows no joint batches
    rows = load_rows(config.data.files, config.data.max_bad_rows)
    evaluation = _evaluation(config)
    set_seed(config.run.seed)
    checkpoint = load_base(config.model, default_device() if distributed.world() == 1 else arguments.device)
    batch = config.run.batch_size * distributed.world()
    shares = _shares(config.data.shares, rows.source_names)
    schedule = Schedule(rows.sources, batch, config.run.seed, shares, config.data.same_source)
    steps = config.run.steps or max(
        1, math.ceil(config.run.epochs * schedule.batches_per_epoch() / config.run.accumulate)
    )
    arguments.max_steps, arguments.logging_steps = steps, min(config.run.log_every, steps)
    examples = Examples(
        rows,
        schedule,
        steps * config.run.accumulate * batch,
        PromptBuilder(checkpoint.tokenizer),
        config.data,
        config.own_thoughts,
        config.run.seed,
    )
    _check_lengths(config, examples.prompts, context_of(checkpoint.model))
    writes = config.loss.generates or config.loss.passage_generation_weight > 0
    model = make_trainable(checkpoint, config.model, writes)
    teacher = _teacher(config, arguments.device, int(checkpoint.model.config.hidden_size))
    # claimed last: settings that cannot be used leave no folder behind that would refuse the mended ones
    folder = RunFolder(Path(config.output), describe(config, rows.digests, checkpoint))
    if distributed.rank() == 0:
        folder.claim()
        checkpoints.tidy(folder.checkpoints)
    distributed.wait()
    trainer = JointTrainer(model, arguments, config, examples, checkpoint, evaluation, teacher)
    trainer.resume(folder.last_checkpoint())
    _finish(folder, trainer, steps, batch * config.run.accumulate)
    return folder.path


def _teacher(config: TrainConfig, device: torch.device, dimension: int) -> Teacher | None:
    if config.model.teacher is None or not config.loss.needs_teacher:
        return None
    known = config.model.teacher_vectors
    return Teacher(config.model.teacher, device, config.run.precision, dimension, Path(known) if known else None)


def _shares(given: dict[str, float], sources: Sequence[str]) -> tuple[float, ...]:
    """The shares in the order of the sources; none where none are given."""
    if given and set(given) != set(sources):
        raise InvalidInputError(
            f"data.shares names {', '.join(sorted(given))}; the rows come from {', '.join(sorted(sources))}: name each."
        )
    return tuple(given[source] for source in sources) if given else ()


def _evaluation(config: TrainConfig) -> EvaluationData | None:
    settings = config.evaluation
    if settings.data is None:
        return None
    return EvaluationData.read(Path(settings.data), settings.split, settings.max_queries, settings.max_passages)


def _check_lengths(config: TrainConfig, prompts: PromptBuilder, context: int) -> None:
    """Rows longer than the model's context would fail in the middle of the run."""
    data = config.data
    query = prompts.overhead + data.max_query_tokens + data.max_thought_tokens
    if max(query, data.max_passage_tokens) > context:
        raise InvalidInputError(
            f"The model has {context} positions; a query with its thought may take {query}, a passage "
            f"{data.max_passage_tokens}: lower data.max_query_tokens, max_thought_tokens or max_passage_tokens."
        )


def _check_installed() -> None:
    """What would be missed only at the end is missed now."""
    missing = [name for name in ("accelerate", "matplotlib") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(f"Training needs {' and '.join(missing)}: pip install 'o1-retriever[train]'")


def _check_sharding(config: TrainConfig) -> None:
    if (config.run.fsdp or config.run.deepspeed) and (config.evaluation.data or config.own_thoughts.share):
        raise InvalidInputError(
            "Sharded weights (run.fsdp, run.deepspeed) can be trained, but not yet be asked for thoughts: leave out "
            "evaluation.data and own_thoughts.share, or train with plain data parallelism."
        )
    if (config.run.fsdp or config.run.deepspeed) and config.model.token_rows != "all":
        # a shard of a flattened table has no rows whose gradient could be left out
        raise InvalidInputError("Sharded weights (run.fsdp, run.deepspeed) train all rows: leave out model.token_rows.")
    if config.run.fsdp and config.run.length_groups > 1:
        # processes with different numbers of rows would make different numbers of calls, and wait for each other
        raise InvalidInputError("run.fsdp computes a batch in one part: leave out run.length_groups.")
    if config.run.fsdp and int(os.environ.get("WORLD_SIZE", "1")) < 2:
        raise InvalidInputError(
            "run.fsdp needs several processes: torchrun --nproc-per-node N -m o1_retriever.cli train"
        )
    if config.run.fsdp and config.model.tuning == "lora":
        raise InvalidInputError("run.fsdp trains all weights so far: set model.tuning=full, or leave run.fsdp out.")


def training_arguments(config: TrainConfig) -> TrainingArguments:
    """Our settings in transformers' words.

    Raises:
        MissingDependencyError: accelerate is not installed.
    """
    run, evaluated = config.run, config.evaluation.data is not None
    cuda = torch.cuda.is_available()
    try:
        return TrainingArguments(
            output_dir=str(Path(config.output) / "checkpoints"),
            per_device_train_batch_size=run.batch_size,
            gradient_accumulation_steps=run.accumulate,
            learning_rate=run.learning_rate,
            warmup_steps=min(run.warmup, 0.999999),
            lr_scheduler_type=run.scheduler,
            weight_decay=run.weight_decay,
            max_grad_norm=run.max_grad_norm,
            bf16=run.precision == "bfloat16",
            activation_checkpointing=run.activation_checkpointing,
            seed=run.seed,
            save_steps=run.save_every,
            logging_steps=run.log_every,
            logging_nan_inf_filter=False,
            eval_strategy="steps" if evaluated else "no",
            eval_steps=config.evaluation.every if evaluated else None,
            train_sampling_strategy="sequential",  # the schedule has already shuffled
            dataloader_drop_last=True,
            dataloader_pin_memory=cuda,
            remove_unused_columns=False,
            use_cache=True,  # otherwise the saved config.json would switch the cache off
            use_cpu=not cuda and not torch.backends.mps.is_available(),
            ddp_backend="gloo" if not cuda and int(os.environ.get("WORLD_SIZE", "1")) > 1 else None,
            ddp_find_unused_parameters=True,  # a process whose rows have no thoughts does not use the head
            fsdp=True if run.fsdp else None,  # type: ignore[arg-type]
            fsdp_config=sharding_file(run.fsdp),
            deepspeed=sharding_file(run.deepspeed),
            report_to="tensorboard" if run.tensorboard else "none",
        )
    except ImportError as error:
        raise MissingDependencyError(f"These settings need another package: {error}") from error
    except ValueError as error:
        raise InvalidInputError(f"transformers refuses these settings: {error}") from error


def _finish(folder: RunFolder, trainer: JointTrainer, steps: int, batch: int) -> None:
    """The best weights, or the last ones, as the finished model."""
    config, history = trainer.config, trainer.state.log_history
    last = folder.checkpoints / "last"
    best = trainer.best_folder
    if not best.is_dir():
        with checkpoints.saving(last):
            trainer.save_model(str(last))
    distributed.wait()
    if not trainer.args.should_save:
        return
    scores = [entry for entry in history if any(key.startswith("eval_ndcg") for key in entry)]
    card = write_card(folder.path.name, config, folder.record["data"], steps, batch, scores)
    plot_history(history, folder.path / "training.png")
    folder.finish(best if best.is_dir() else last, config.run.save_as == "merged", card, history)
