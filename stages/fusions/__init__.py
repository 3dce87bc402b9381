"""Fusions: one file a rule. A fusion makes one order out of what several retrievers found."""
