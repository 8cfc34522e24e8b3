"""Data sets: where they come from (`Source`), and how every one is split, normalised and served."""
