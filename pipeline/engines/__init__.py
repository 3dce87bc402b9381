"""Engines: one file a way to spread the shards of a stage. No stage knows."""
