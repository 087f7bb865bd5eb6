"""The README of a trained model: base, data, settings, scores. Text only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from o1_retriever.training.config import TrainConfig

CARD = """---
base_model: {base}
library_name: o1-retriever
tags: [sentence-similarity, feature-extraction, retrieval, o1-embedder{adapter}]
---

# {name}

An O1 Embedder (arXiv 2502.07555): it thinks before it retrieves. Trained with o1-retriever from {base}.

```python
from o1_retriever import O1Embedder

embedder = O1Embedder.from_pretrained("path/to/this/folder")
embedder.encode_query("Who directed the film?", num_thoughts=3)
```

| | |
|---|---|
| base | {base} |
| tuning | {tuning} |
| optimizer steps | {steps} of {batch} queries, {group} passages each |
| loss | contrastive {contrastive}, generation {generation}, temperature {temperature} |
| own thoughts | {own} of the queries that have a thought |
| training limits | query {query} tokens, thought {thought}, passage {passage} |
| seed | {seed} |

Data, by SHA-256 (see `training.json`):

{data}

{scores}
"""


def write_card(
    name: str, config: TrainConfig, data: dict[str, str], steps: int, batch: int, scores: Sequence[dict[str, Any]]
) -> str:
    """The card's Markdown.

    Args:
        name: of the model.
        config: of the run.
        data: file -> hash.
        steps: that were taken.
        batch: queries of a step, all processes together.
        scores: evaluations in the order they were made, as transformers logs them.
    """
    model, loss, limits = config.model, config.loss, config.data
    lora = f"LoRA, r {model.lora_rank}, alpha {model.lora_alpha}, all linear layers and the four tokens' embeddings"
    return CARD.format(
        name=name,
        base=model.base,
        adapter=", peft, lora" if model.tuning == "lora" and config.run.save_as == "adapter" else "",
        tuning=lora if model.tuning == "lora" else "all weights",
        steps=steps,
        batch=batch,
        group=limits.group_size,
        contrastive=loss.contrastive_weight,
        generation=round(1 - loss.contrastive_weight, 6),
        temperature=loss.temperature,
        own=f"{config.own_thoughts.share:.0%}",
        query=limits.max_query_tokens,
        thought=limits.max_thought_tokens,
        passage=limits.max_passage_tokens,
        seed=config.run.seed,
        data="\n".join(f"- {file}: `{digest[:16]}`" for file, digest in sorted(data.items())),
        scores=_scores(config, scores),
    )


def _scores(config: TrainConfig, scores: Sequence[dict[str, Any]]) -> str:
    if not scores:
        return "Not evaluated during training."
    settings, keys = config.evaluation, [k for k in scores[0] if k.startswith("eval_ndcg@10_k")]
    head = "| step | " + " | ".join(f"{k.removeprefix('eval_ndcg@10_k')} thoughts" for k in keys) + " |"
    rows = [f"| {s['step']} | " + " | ".join(f"{s[k]:.4f}" for k in keys) + " |" for s in scores]
    about = f"nDCG@10 on a part of the {settings.split} split that picked the checkpoint (no test result):"
    return "\n".join([about, "", head, "|---" * (len(keys) + 1) + "|", *rows])
