"""Losses: one file each, with paper and equation."""
