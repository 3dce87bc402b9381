"""Teachers: one file a kind. A teacher scores pairs of query and document once more."""
