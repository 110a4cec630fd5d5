"""A file or folder for each command."""
