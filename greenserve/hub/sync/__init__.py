"""What green threads and OS threads synchronise by: locks, conditions, events, queues, locals."""
