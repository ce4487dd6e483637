"""Other libraries' names and ways, on greenserve: one module for each library."""
