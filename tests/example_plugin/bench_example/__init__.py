"""Plugins for bench."""
