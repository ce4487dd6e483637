"""What a process of the command is to its machine: how it is named there, and as which user it runs.

Functions of settings alone, so that whichever process is the server's first can use them.
"""
