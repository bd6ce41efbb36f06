"""What can be found wrong: of runs before work starts, and of what the devices of a machine compute."""
