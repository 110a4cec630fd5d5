"""What a job will take on ranks that nobody has yet: measured here, predicted there."""
