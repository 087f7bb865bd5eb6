"""Ways to search with the same texts: ours, which embeds them behind the query, and HyDE, by the frameworks' classes.

LlamaIndex's `HyDEQueryTransform` hands the hypothetical passage on as a text to search for, so the index embeds it as
it embeds queries: an `O1Embedding` at its defaults thinks about it as well. That is measured, and an embedding that
does not think. LangChain's `HypotheticalDocumentEmbedder` embeds it as a passage, and has no way to add the query: its
vector, without thoughts, is put into the class's own average. Both classes write one passage; of several passages the
same averages are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from langchain_chroma import Chroma
from langchain_classic.chains import HypotheticalDocumentEmbedder
from langchain_core.language_models import FakeListChatModel
from langchain_o1 import O1Embeddings
from langchain_o1 import O1Retriever as LangChainRetriever
from llama_index.core import VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.indices.query.query_transform import HyDEQueryTransform
from llama_index.core.llms import CompletionResponse, CompletionResponseGen, CustomLLM, LLMMetadata
from llama_index.core.schema import QueryBundle
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.retrievers.o1 import O1Retriever as LlamaIndexRetriever

from o1_retriever import RecordedThoughts

TEXTS = 3
OURS, ALONE = f"query + thought, {TEXTS} thoughts", "query alone"
K = 10
VARIANTS = [(number, with_query) for number in (1, TEXTS) for with_query in (False, True)]
"""Of HyDE: how many texts are averaged, and whether the query is among them."""


@dataclass(frozen=True)
class System:
    """A way to search.

    Attributes:
        name: for people.
        find: a question to the ids of the K best passages, best first.
    """

    name: str
    find: Callable[[str], list[str]]

    @property
    def is_hyde(self) -> bool:
        return self.name.startswith("HyDE")


class Repeating(CustomLLM):
    """A language model that says what another one said before."""

    text: str

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="recorded")

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=self.text)

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        yield CompletionResponse(text=self.text, delta=self.text)


def llama_index_systems(index: VectorStoreIndex, recorded: RecordedThoughts) -> Iterator[System]:
    """Everything that is compared over one index.

    Args:
        index: over the passages, with an `O1Embedding` of the model.
        recorded: the texts of each question, best first.
    """
    ours = LlamaIndexRetriever(index, thinker=recorded, num_thoughts=TEXTS, similarity_top_k=K)
    yield System(OURS, partial(_nodes, ours))
    yield System(ALONE, partial(_nodes, LlamaIndexRetriever(index, num_thoughts=0, similarity_top_k=K)))
    embedding: Any = index._embed_model
    for thinks, changed in (
        ("", {"num_thoughts": 0}),
        (", thinking by default", {"embeddings_cache": SimpleKVStore()}),  # each text is thought about once
    ):
        retriever = index.as_retriever(embed_model=embedding.with_changes(**changed), similarity_top_k=K)
        for number, with_query in VARIANTS:
            find = partial(_nodes_by_hyde, retriever, recorded, number, with_query)
            yield System(hyde_name(number, with_query) + thinks, find)


def langchain_systems(store: Chroma, recorded: RecordedThoughts) -> Iterator[System]:
    """As `llama_index_systems`, over a store with `O1Embeddings` of the model."""
    ours = LangChainRetriever(vectorstore=store, thinker=recorded, num_thoughts=TEXTS, k=K)
    yield System(OURS, partial(_documents, ours))
    yield System(ALONE, partial(_documents, LangChainRetriever(vectorstore=store, num_thoughts=0, k=K)))
    embeddings: Any = store.embeddings
    base = embeddings.model_copy(update={"num_thoughts": 0})
    for number, with_query in VARIANTS:
        find = partial(_documents_by_hyde, store, base, recorded, number, with_query)
        yield System(hyde_name(number, with_query), find)


def hyde_name(number: int, with_query: bool) -> str:
    """How a variant of HyDE is called.

    >>> hyde_name(3, with_query=True)
    'HyDE, 3 texts and the query'
    """
    return f"HyDE, {number} text{'' if number == 1 else 's'}{' and the query' if with_query else ''}"


def hyde_bundle(question: str, texts: Sequence[str], with_query: bool) -> QueryBundle:
    """What LlamaIndex's HyDE searches for: the class is run once per text, and what it says put together."""
    transforms = [HyDEQueryTransform(llm=Repeating(text=text), include_original=with_query) for text in texts]
    said = [text for transform in transforms for text in transform.run(question).embedding_strs]
    return QueryBundle(question, custom_embedding_strs=list(dict.fromkeys(said)))


def hyde_vector(base: O1Embeddings, question: str, texts: Sequence[str], with_query: bool) -> list[float]:
    """The vector of LangChain's HyDE: the class embeds each text, and takes the average."""
    hydes = [
        HypotheticalDocumentEmbedder.from_llm(FakeListChatModel(responses=[text]), base, "web_search") for text in texts
    ]
    vectors = [hyde.embed_query(question) for hyde in hydes]
    averaged = [*vectors, base.embed_query(question)] if with_query else vectors
    return [float(value) for value in hydes[0].combine_embeddings(averaged)]


def _nodes(retriever: BaseRetriever, question: str | QueryBundle) -> list[str]:
    return [found.node_id for found in retriever.retrieve(question)]


def _nodes_by_hyde(
    retriever: BaseRetriever, recorded: RecordedThoughts, number: int, with_query: bool, question: str
) -> list[str]:
    return _nodes(retriever, hyde_bundle(question, recorded.up_to(question, number), with_query))


def _documents(retriever: LangChainRetriever, question: str) -> list[str]:
    return [str(document.id) for document in retriever.invoke(question)]


def _documents_by_hyde(
    store: Chroma, base: O1Embeddings, recorded: RecordedThoughts, number: int, with_query: bool, question: str
) -> list[str]:
    vector = hyde_vector(base, question, recorded.up_to(question, number), with_query)
    return [str(document.id) for document in store.similarity_search_by_vector(vector, k=K)]
