"""Views: one file each. A view makes queries from documents that have none."""
