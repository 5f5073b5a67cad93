"""The final linear layer of anything that has one."""

from probact.heads.finding import Head, find_head

__all__ = ["Head", "find_head"]
