"""Streaming data through a network and keeping what one layer sees."""

from probact.capturing.features import Features

__all__ = ["Features"]
