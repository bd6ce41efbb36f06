"""Data sets: one class each, registered by name; images are uint8 arrays, in memory or memory-mapped."""
