"""`--reload`, for development: the application's files are watched, and a change is served at once.

Law. A process of its own (`__main__`) watches, since a process that forks must have no OS threads, and watchfiles has
some. It knows no application, and of greenserve nothing but the supervisor's channel.
"""
