"""The processes below the supervisor: the template, which loads the application, and the workers that it forks."""
