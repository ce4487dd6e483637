"""Green twins of the standard library's blocking modules: same names, same behaviour, but only the calling green
thread waits.

`from greenserve.green import socket` uses one directly; `greenserve.monkey_patch` puts them in the place of the
originals. Importing this package changes nothing. What needs no code of its own (http, urllib, ftplib, ...) is
imported afresh over the twins: `from greenserve.green.urllib.request import urlopen` (patching/import_patched.py).
"""
