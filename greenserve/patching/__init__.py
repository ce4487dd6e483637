"""Monkey-patching: what replaces what in the standard library (monkey.py), and what that takes."""
