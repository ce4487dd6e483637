"""Worker processes: a supervisor that starts, watches and replaces them, and what it shares with them.

Law. The supervisor's own process (`__main__`) holds nothing that could fail with an application: no application, no
hub, no patch, no other room of greenserve. It weighs a third of what it would with them, and is there when they are
not. So these modules import the standard library and one another, nothing else; a test holds them to it.
"""
