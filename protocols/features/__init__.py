"""Frozen features: extracted once, with their nearest neighbours."""
