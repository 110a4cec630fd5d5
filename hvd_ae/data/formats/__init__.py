"""A file for each format of files, and what several of them share."""
