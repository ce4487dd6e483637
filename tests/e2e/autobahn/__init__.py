"""The Autobahn test suite, the yardstick of WebSocket implementations: install.sh gets it, suite.py runs it."""
