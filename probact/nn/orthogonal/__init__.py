"""Filters that are orthogonal to each other: exactly, by a penalty, and how far they are."""
