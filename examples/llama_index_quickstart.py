"""Five short documents in a LlamaIndex index, and a question that is thought about before it is searched for."""

from llama_index.core import Document, VectorStoreIndex
from llama_index.embeddings.o1 import O1Embedding

documents = [
    Document(text="Ada Lovelace published the first program for Charles Babbage's Analytical Engine in 1843."),
    Document(text="A honeybee dances to tell the others of its hive where flowers are."),
    Document(text="The Danube rises in the Black Forest and flows into the Black Sea."),
    Document(text="A pendulum of one metre swings from side to side in about one second."),
    Document(text="Edward Jenner protected people against smallpox by infecting them with cowpox."),
]
embedding = O1Embedding()
index = VectorStoreIndex.from_documents(documents, embed_model=embedding)

question = "Which disease was fought with the first vaccine?"
for number, thought in enumerate(embedding.think(question), start=1):
    print(f"thought {number}: {thought}")
for found in index.as_retriever(similarity_top_k=3).retrieve(question):
    print(f"{found.score:.3f}  {found.node.get_content()}")
