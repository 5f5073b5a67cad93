"""Compiled walks; functions here call only those of this folder."""
