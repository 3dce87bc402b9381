"""Exporters: one file a target format."""
