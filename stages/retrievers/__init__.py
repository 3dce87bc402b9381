"""Retrievers without vectors: one file a kind."""
