"""Refinements of a frozen representation: one function each, from features to features, registered by name."""
