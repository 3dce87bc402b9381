"""The training loop and its parts. Importing a part imports torch."""
