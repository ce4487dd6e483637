"""Comparisons with other servers and green-thread libraries that you can rerun. See README.md beside this file."""
