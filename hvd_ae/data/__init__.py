"""Where samples come from, which of them are a rank's own, and what comes next; NumPy only."""
