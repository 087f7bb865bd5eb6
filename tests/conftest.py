"""Tiny random models that behave like real ones, made without any download."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from o1_retriever import Checkpoint, O1Config, O1Embedder, ThinkingConfig

FAMILIES = ("qwen2", "llama", "mistral", "gpt2", "bert")
_SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def make_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """Byte-level without merges (every byte a token); BOS for llama and mistral, [CLS] for bert."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = {"bert": ["[PAD]", "[CLS]", "[SEP]"]}.get(family, ["<pad>", "<s>", "</s>"])
    vocabulary = {token: index for index, token in enumerate(special + alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    from tokenizers.decoders import ByteLevel

    tokenizer.decoder = ByteLevel()
    if family in ("llama", "mistral", "bert"):
        tokenizer.post_processor = TemplateProcessing(single=f"{special[1]} $A", special_tokens=[(special[1], 1)])
    if family == "bert":
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


def make_model(family: str, tied: bool = True, seed: int = 0, vocabulary: int = 259) -> PreTrainedModel:
    """A random two-layer model of the family, in eval mode."""
    configs: dict[str, Callable[[], PreTrainedConfig]] = {
        "qwen2": lambda: Qwen2Config(**_SIZES, num_key_value_heads=2, max_position_embeddings=512),
        "llama": lambda: LlamaConfig(**_SIZES, num_key_value_heads=2, max_position_embeddings=512),
        "mistral": lambda: MistralConfig(**_SIZES, num_key_value_heads=2, max_position_embeddings=512),
        "gpt2": lambda: GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=512),
        "bert": lambda: BertConfig(**_SIZES, max_position_embeddings=512, is_decoder=True),
    }
    config = configs[family]()
    config.vocab_size, config.tie_word_embeddings = vocabulary, tied
    config.pad_token_id, config.bos_token_id, config.eos_token_id = 0, 1, 2
    config.initializer_range = 0.2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config).eval()


def make_checkpoint(family: str = "qwen2", tied: bool = True, seed: int = 0) -> Checkpoint:
    config = O1Config(thinking=ThinkingConfig(num_thoughts=3, temperature=1.0, top_p=0.95, max_new_tokens=12))
    return Checkpoint.from_objects(make_model(family, tied, seed), make_tokenizer(family), config)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def tiny() -> O1Embedder:
    """A tiny random Qwen2 embedder, shared by tests that do not change it."""
    return O1Embedder(make_checkpoint())


@pytest.fixture(scope="session")
def make_embedder() -> Callable[..., O1Embedder]:
    """`make_embedder(family, tied, seed)` gives a fresh tiny embedder."""
    return lambda *args, **kwargs: O1Embedder(make_checkpoint(*args, **kwargs))


@pytest.fixture(scope="session")
def model_factory() -> Callable[..., PreTrainedModel]:
    """`model_factory(family, tied, seed)` gives a tiny causal LM that knows none of our tokens."""
    return make_model


@pytest.fixture(scope="session")
def tokenizer_factory() -> Callable[..., PreTrainedTokenizerFast]:
    """`tokenizer_factory(family)` gives its tokenizer, without our tokens."""
    return make_tokenizer


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, tiny: O1Embedder) -> str:
    """The tiny embedder saved as a checkpoint folder."""
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    tiny.save_pretrained(folder)
    return str(folder)


def load_chat_server() -> ModuleType:
    """`tests/chat_server.py` as a module: tests have no package to import it from."""
    name = "chat_server"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture
def chat_server() -> Iterator[Callable[..., Any]]:
    """`chat_server(**behaviour)` starts a server that speaks the chat-completions protocol; see `chat_server.py`."""
    module = load_chat_server()
    with ExitStack() as stack:
        yield lambda **behaviour: stack.enter_context(module.ChatServer(module.Behaviour(**behaviour)))


@pytest.fixture(scope="session")
def tiny_baseline(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random one-layer BERT as a sentence-transformers folder."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("baselines")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,?"
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = [*special, *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder / "bert")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder / "bert")
    model = SentenceTransformer(modules=[Transformer(str(folder / "bert")), Pooling(16)], device="cpu")
    model.save(str(folder / "tiny-baseline"), create_model_card=False)
    return str(folder / "tiny-baseline")
