"""Evaluation of o1-retriever."""
