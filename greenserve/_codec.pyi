"""What the compiled codec has. Each function is described at its twin in Python."""
