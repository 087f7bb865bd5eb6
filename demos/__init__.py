"""Programs that show what o1-retriever does; run them from the project's root: `python -m demos.encyclopedia`."""
