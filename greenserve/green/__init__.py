"""Green twins of the standard library's blocking modules: same names, same behaviour, but only the calling green
thread waits.

`from greenserve.green import socket` uses one directly; `greenserve.green.monkey` puts them in the place of the real
ones. Importing this package changes nothing.
"""
