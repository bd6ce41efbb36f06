"""Pretraining: how a method is built, trained, checkpointed, and shared by several processes."""
