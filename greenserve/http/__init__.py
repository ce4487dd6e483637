"""HTTP/1.1 for a server, as pure functions and state machines on bytes: no socket, no clock, no thread."""
