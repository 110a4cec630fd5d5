"""Checkpoints: what is written, how it is read back, and where a run goes on."""
