"""The compiled codec: how it is built, which codec is used, and that both give the same results."""
