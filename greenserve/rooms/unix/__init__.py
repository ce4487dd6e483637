"""A bus over a Unix socket: `bus.py` in each process, `start.py` where there is no broker, which is `broker/`."""
