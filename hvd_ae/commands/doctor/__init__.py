"""`hvd-ae doctor`: what a job on these ranks will stand on, looked at in seconds."""
