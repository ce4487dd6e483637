"""Comparisons with other servers and green-thread libraries that anyone can rerun. See README.md beside this file."""
