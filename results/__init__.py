"""Records of finished runs: their store, statistics, tables and figures. Never imports torch."""
