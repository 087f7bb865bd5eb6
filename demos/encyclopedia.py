"""Indexes a small encyclopedia with LlamaIndex and Chroma, asks it questions, and counts what thinking changes.

    python -m demos.encyclopedia [--store DIR] [--questions ID ...] [--model NAME]

The first run embeds 150 passages into a Chroma collection in the folder `--store`; later runs find them there.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

import chromadb
from chromadb.config import Settings
from llama_index.core import QueryBundle, VectorStoreIndex
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.embeddings.o1 import O1Embedding, QueryEmbedding
from llama_index.vector_stores.chroma import ChromaVectorStore
from tqdm import tqdm
from transformers.utils import logging as transformers_logging

from chroma_o1 import check, stamp
from demos.comparison import compare, print_table
from o1_retriever import O1Error
from o1_retriever.beir import Passage, Query, read_corpus, read_qrels, read_queries
from o1_retriever.bundled import DEFAULT_MODEL
from o1_retriever.fingerprints import digest
from o1_retriever.reader import ExtractiveReader

CORPUS = Path(__file__).parent / "corpus"
STORE = Path(__file__).parents[1] / ".demo-store"
SHOWN = ["q05", "q29", "q36"]  # one passage answers the first question; the others need two
TOP_K = 5
TOGETHER = 8  # questions that think side by side


def to_node(passage: Passage) -> TextNode:
    """The same passage always gets the same id; what is embedded is title, space, text."""
    return TextNode(
        id_=digest(passage.id, passage.full_text),
        text=passage.text,
        metadata={"title": passage.title, "passage_id": passage.id},
        excluded_embed_metadata_keys=["passage_id"],
        metadata_template="{value}",
        text_template="{metadata_str} {content}",
    )


def open_collection(store: Path, embedding: O1Embedding) -> chromadb.Collection:
    """A Chroma collection in cosine space that holds vectors of this model only."""
    client = chromadb.PersistentClient(str(store), settings=Settings(anonymized_telemetry=False))
    collection = client.get_or_create_collection(
        "encyclopedia", embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
    )
    if collection.count() == 0:
        stamp(collection, embedding.embedder)
    check(collection, embedding.embedder)
    return collection


def build_index(collection: chromadb.Collection, embedding: O1Embedding) -> tuple[VectorStoreIndex, int]:
    """The index, and how many passages had to be embedded because the collection lacked them."""
    known = set(collection.get(include=[])["ids"])
    missing = [node for node in map(to_node, read_corpus(CORPUS)) if node.node_id not in known]
    index = VectorStoreIndex.from_vector_store(ChromaVectorStore(chroma_collection=collection), embed_model=embedding)
    index.insert_nodes(missing)  # the engine shows a progress bar where this takes longer than a second
    return index, len(missing)


def retrieve(index: VectorStoreIndex, query: QueryEmbedding) -> list[NodeWithScore]:
    """The best passages for a question that is embedded already."""
    bundle = QueryBundle(query.query, embedding=query.embedding)
    return index.as_retriever(similarity_top_k=TOP_K).retrieve(bundle)


def answer(index: VectorStoreIndex, embedding: O1Embedding, question: str) -> None:
    """Thinks, searches, and prints everything on the way to an answer."""
    query = embedding.get_query_embedding_with_thoughts(question)
    best = retrieve(index, query)[:3]
    print(f"\n{question}")
    for thought in query.thoughts:
        print(textwrap.fill(thought, 110, initial_indent="  thought  ", subsequent_indent=" " * 11))
    for found in best:
        line = f"{found.node.metadata['title']}: {found.node.get_content()}"
        print(f"  {found.score or 0:.3f}    {textwrap.shorten(line, 100, placeholder=' ...')}")
    sentence = ExtractiveReader(embedding.embedder).answer(question, [found.node.get_content() for found in best])
    print(textwrap.fill(sentence.text, 110, initial_indent="  extractive answer: ", subsequent_indent=" " * 11))


def rank(
    index: VectorStoreIndex, embedding: O1Embedding, queries: Sequence[Query], label: str
) -> tuple[dict[str, list[str]], float]:
    """Ids of the best passages for each question, and the seconds for thinking, embedding and searching."""
    start, rankings = time.perf_counter(), {}
    with tqdm(total=len(queries), desc=label, unit="question", delay=1.0) as bar:
        for first in range(0, len(queries), TOGETHER):
            batch = queries[first : first + TOGETHER]
            embedded = embedding.get_query_embeddings_with_thoughts([query.text for query in batch])
            for query, vector in zip(batch, embedded, strict=True):
                rankings[query.id] = [found.node.metadata["passage_id"] for found in retrieve(index, vector)]
            bar.update(len(batch))
    return rankings, time.perf_counter() - start


def run(arguments: argparse.Namespace) -> None:
    qrels = read_qrels(CORPUS, "test")
    queries = read_queries(CORPUS, qrels)
    start = time.perf_counter()
    embedding = O1Embedding(model_name=arguments.model)
    plain = O1Embedding(model_name=arguments.model, num_thoughts=0)  # the same loaded model
    collection = open_collection(arguments.store, embedding)
    loaded = time.perf_counter()
    index, embedded = build_index(collection, embedding)
    print(f"Model loaded in {loaded - start:.1f} s.", end=" ")
    print(f"{embedded} passages embedded, {collection.count()} in the index: {time.perf_counter() - loaded:.1f} s.")
    for query in queries:
        if query.id in arguments.questions:
            answer(index, embedding, query.text)
    without, plain_seconds = rank(index, plain, queries, "without thinking")
    thinking, thinking_seconds = rank(index, embedding, queries, "thinking")
    types = {query.id: query.metadata["type"] for query in queries}
    print_table(compare(types, qrels, without, thinking, TOP_K), TOP_K, (plain_seconds, thinking_seconds))


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 for an error that the user can mend."""
    parser = argparse.ArgumentParser(
        prog="python -m demos.encyclopedia", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--store", type=Path, default=STORE, help="folder of the Chroma store")
    parser.add_argument("--questions", nargs="+", metavar="ID", default=SHOWN, help="questions to show in full")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="bundled model, folder or hub id")
    transformers_logging.disable_progress_bar()
    try:
        run(parser.parse_args(arguments))
    except O1Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
