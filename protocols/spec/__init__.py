"""What a run is: protocols, labels, resolution, identity, grids, plugins. Never imports torch."""
