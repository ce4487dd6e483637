"""Libraries that patching adapts to green threads: one module for each, of its name."""
