"""Backbones: one function each, registered by name, that returns a freshly initialised encoder."""
