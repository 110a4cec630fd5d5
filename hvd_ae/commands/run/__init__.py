"""`hvd-ae run`: a job on ranks that is started again when a rank was lost."""
