"""`hvd-ae compare`: every strategy from the same start, in one job."""
