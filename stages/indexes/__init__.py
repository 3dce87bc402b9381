"""Indexes: one file a kind. An index is whatever answers search(queries, k)."""
