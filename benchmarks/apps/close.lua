-- A connection, and so a handshake, for each request.
wrk.headers["Connection"] = "close"
