"""transformers' Trainer with a joint step: its loop, schedulers, wrappers, precision and resuming; our losses.

What is changed: a micro-batch is differentiated by `JointStep`; own thoughts are sampled when they are due; evaluation
is nDCG@10; checkpoints are O1 checkpoints and complete or absent.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

from o1_retriever.checkpoint import Checkpoint
from o1_retriever.config import CONFIG_NAME
from o1_retriever.embedder import O1Embedder
from o1_retriever.encoding import context_of
from o1_retriever.storage import write_whole
from o1_retriever.training import checkpoints, distributed
from o1_retriever.training.batch import Assembler
from o1_retriever.training.config import TrainConfig
from o1_retriever.training.evaluation import EvaluationData, evaluate
from o1_retriever.training.examples import Example, Examples
from o1_retriever.training.joint import causal_model
from o1_retriever.training.own_thoughts import OwnThoughts
from o1_retriever.training.rates import set_rates
from o1_retriever.training.step import JointStep, NonFiniteLossError
from o1_retriever.training.teacher import Teacher
from o1_retriever.training.token_rows import without_decay

OWN_THOUGHTS = "own_thoughts_{rank}.json"


class JointTrainer(Trainer):
    """Trains a model whose forward knows joint batches (`joint.install`).

    Args:
        model: a causal LM or a PEFT model of one.
        arguments: transformers'.
        config: of the run.
        examples: all visits of the run, in order.
        checkpoint: tokenizer and serving settings that are saved beside the weights.
        evaluation: what picks the best checkpoint; None keeps the last.
        teacher: of the loss's terms that need one.
    """

    def __init__(
        self,
        model: nn.Module,
        arguments: TrainingArguments,
        config: TrainConfig,
        examples: Examples,
        checkpoint: Checkpoint,
        evaluation: EvaluationData | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        super().__init__(
            model=model,
            args=arguments,
            data_collator=_as_batch,
            train_dataset=examples,
            eval_dataset=evaluation,
        )
        self.config, self.examples, self.checkpoint, self.evaluation = config, examples, checkpoint, evaluation
        self.causal, self.teacher = causal_model(model), teacher
        self.own = OwnThoughts(self.causal, examples, config.own_thoughts)
        self._step = self._make_step()
        self._sums: dict[str, Tensor] = {}
        self._added = 0
        self._where: list[str] = []

    def _make_step(self) -> JointStep:
        config, loss, prompts = self.config, self.config.loss, self.examples.prompts
        multiple, groups = config.data.pad_to_multiple, config.run.length_groups
        return JointStep(
            self.model_wrapped,
            loss,
            Assembler(prompts, multiple, loss, self.teacher, context_of(self.causal), groups),
            config.run.chunk_size,
            self._backward,
            lambda: self.accelerator.no_sync(self.model_wrapped),
            self.args.device,
        )

    def _backward(self, loss: Tensor) -> None:
        """Our losses are already divided by the number of micro-batches; DeepSpeed would do it again."""
        self.accelerator.backward(loss, **({"scale_wrt_gas": False} if self.is_deepspeed_enabled else {}))

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        """Clips; a gradient that is not finite stops the run before it reaches the weights."""
        norm = super()._clip_grad_norm(model)  # type: ignore[no-untyped-call]
        if norm is not None and not math.isfinite(float(norm)):
            raise NonFiniteLossError(
                f"The gradient is not finite; rows of the batch: {', '.join(self._where)}. Look at these rows; lower "
                "run.learning_rate or use a wider model.dtype. The last checkpoint is kept."
            )
        return norm

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """transformers', with rates by role and rows that stay where the settings have any."""
        fresh, run = self.optimizer is None, self.config.run
        optimizer = super().create_optimizer(model)
        if fresh and self.config.model.token_rows == "special":
            without_decay(optimizer, self.causal)
        if fresh and (run.embedding_rate, run.head_rate) != (1.0, 1.0):
            set_rates(optimizer, self.causal, run.embedding_rate, run.head_rate)
        return optimizer

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Forward and backward of one micro-batch; see `JointStep`."""
        if self.config.loss.embeds and self.own.due(self.state.global_step):
            self.own.refresh(self.state.global_step, self._visits_until_next())
        model.train()
        self._step.model = model
        self._where = [example.where for example in inputs["examples"]]
        values = self._step.run(inputs["examples"], self.own.thoughts, 1 / self.current_gradient_accumulation_steps)
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, torch.zeros((), device=value.device)) + value
        self._added += 1
        return values["loss"] / self.current_gradient_accumulation_steps

    def _visits_until_next(self) -> list[int]:
        """This process's visits from the current optimizer step to the next sampling."""
        run, processes, rank = self.config.run, distributed.world(), distributed.rank()
        first = self.state.global_step * run.accumulate
        last = first + self.config.own_thoughts.every * run.accumulate
        starts = [(micro * processes + rank) * run.batch_size for micro in range(first, last)]
        return [v for start in starts for v in range(start, start + run.batch_size) if v < len(self.examples)]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the mean of each term since the last log."""
        if "loss" in logs and self._added:
            means = {name: self.accelerator.gather(value[None]).mean() for name, value in self._sums.items()}
            logs |= {name: float(value) / self._added for name, value in means.items()}
            self._sums, self._added = {}, 0
        super().log(logs, start_time)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted: batches hold examples, not tensors."""
        return 0

    def embedder(self) -> O1Embedder:
        """The model as it is, for thinking and embedding; shares its weights."""
        c = self.checkpoint
        return O1Embedder(Checkpoint(self.causal, c.tokenizer, c.config, "in training", c.tokenizer_hash, c.source))

    def evaluate(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> dict[str, float]:
        """nDCG@10 with each number of thoughts; saves the weights where the last of them is better than ever."""
        if self.evaluation is None:
            return {}
        numbers = self.config.evaluation.num_thoughts
        found = evaluate(self.embedder(), self.evaluation, numbers)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in found.items()}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self._keep_best(found[f"ndcg@10_k{numbers[-1]}"])
        return metrics

    @property
    def best_folder(self) -> Path:
        return Path(str(self.args.output_dir)) / checkpoints.BEST

    def _keep_best(self, metric: float) -> None:
        """Replaces `best/` if the metric is higher than its; the old one goes when the new one is whole."""
        record = self.best_folder / "metric.json"
        if not self.args.should_save:
            return
        if record.is_file() and json.loads(record.read_text(encoding="utf-8"))["metric"] >= metric:
            return
        partial = self.best_folder.with_name(f"{checkpoints.BEST}.partial")
        with checkpoints.saving(partial):
            self._save(str(partial))
            write_whole(partial / record.name, json.dumps({"metric": metric, "step": self.state.global_step}).encode())
            checkpoints.replace_best(partial)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Weights or adapter, tokenizer and `o1_config.json`: what `O1Embedder.from_pretrained` reads."""
        if not self.args.should_save:
            return
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        model: Any = self.accelerator.unwrap_model(self.model)
        # an adapter holds the four tokens' rows; all embeddings beside them would be gigabytes
        extra = {} if model is self.causal else {"save_embedding_layers": False}
        model.save_pretrained(str(folder), state_dict=state_dict, **extra)
        self.checkpoint.tokenizer.save_pretrained(folder)
        (folder / CONFIG_NAME).write_text(self.checkpoint.config.to_json(), encoding="utf-8")

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """transformers' checkpoint and our own thoughts; marked only when all processes have written theirs."""
        folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
        with checkpoints.saving(folder):
            super()._save_checkpoint(model, trial)
            self.own.save(folder / OWN_THOUGHTS.format(rank=distributed.rank()))
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            with checkpoints.saving(folder):
                checkpoints.mark_complete(folder, self.config.run.keep)

    def resume(self, checkpoint: Path | None) -> None:
        """Trains to the end, from a checkpoint or from the start."""
        if checkpoint is not None:
            self.own.load(checkpoint / OWN_THOUGHTS.format(rank=distributed.rank()))
        self.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))


def _as_batch(examples: list[Example]) -> dict[str, Any]:
    """No tensors yet: own thoughts are put in when the batch is trained, not when it is loaded ahead."""
    return {"examples": examples}
