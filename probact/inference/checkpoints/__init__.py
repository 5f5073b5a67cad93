"""Runs on disk: one writer, atomic commits, checksums, and what a run is recognised by."""
