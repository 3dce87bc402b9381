"""Parts of the report: figures, charts and the page."""
