"""Sticky sessions: every request of a session is served by the worker in which the session began (`--sticky`).

session.py finds the session in requests and answers, learning.py sees the answers, directory.py is where workers tell
each other whose a session is, siblings.py the way between them, passing.py what happens to a connection with a request
of another worker's session, and relay.py stands in for it where its bytes are encrypted.
"""

from greenserve.server.sticky.directory import Directory, Sessions
from greenserve.server.sticky.passing import StickySessions, sticky_sessions

__all__ = ["Directory", "Sessions", "StickySessions", "sticky_sessions"]
