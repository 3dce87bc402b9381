"""Rules that put the pairs of an epoch into batches: one file each."""
