"""Encoders: one file a kind. An encoder turns the rows of a table into vectors."""
