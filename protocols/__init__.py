"""What a fair comparison holds fixed, and the runner that executes one run."""
