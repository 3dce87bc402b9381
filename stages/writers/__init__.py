"""Writers: one file a kind of language model. A writer writes queries that a document answers."""
