"""The report of a sweep: one page for a browser, and its figures as PNG."""
