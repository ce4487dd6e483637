"""The scheduler and what it needs, to be read in one sitting. Imports nothing of the project but its errors."""
