"""The run folder, the progress bar and the pictures: used by the root rank only, and nothing here communicates."""
