"""The training loop and what it needs: prepare, step, evaluation, checkpoint."""
