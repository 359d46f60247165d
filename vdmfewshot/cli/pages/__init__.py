"""Reports over many runs: one page for a browser, and the same table as Markdown, CSV and JSON."""
