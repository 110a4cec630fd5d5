"""`hvd-ae score`: how odd each sample is, and above what it counts as odd."""
