"""Data sets: one class each, registered by name; all loaded whole as uint8 arrays."""
