"""Data set adapters: one file a format. An adapter always yields corpus, queries and qrels."""
