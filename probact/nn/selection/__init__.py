"""Which region of a unit is chosen, and how softly."""
