"""The broker of a Unix socket: a process of its own, which passes on the messages of those that share rooms.

Law. Its process (`__main__`) is as light as the supervisor's, and holds nothing that an application could block: no
application, no hub, no patch. So these modules import the standard library, one another, and the rooms' framing.
"""
