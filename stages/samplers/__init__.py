"""Samplers: one file a rule. A sampler chooses negatives among the candidates that were kept."""
