"""A bus over a Unix socket: `bus.py` in each process, `broker.py` in one of them besides."""
