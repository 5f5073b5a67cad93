"""The expansion behind `probact.special`."""
