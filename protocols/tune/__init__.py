"""Tuning with equal trials for every method: search spaces, settings of trials, and the choice among them.

Settings are chosen on held-out training images (``held_out:NAME``); the test split is read only by runs of the tuned
protocol, with seeds that no trial has used.
"""
