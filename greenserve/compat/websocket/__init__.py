"""What WebSocket libraries for WSGI look for in the environ, so that applications written for them run unchanged.

Those that take the socket (simple-websocket, Flask-Sock, python-engineio, eventlet.websocket) find a stand-in for it in
every request; server/hijack.py has that. Here, a module for each library, is what only upgrades get, by upgrades.py.
"""
