"""The command `load`: set the jobs of a file, and keep Redis in step with the file."""
