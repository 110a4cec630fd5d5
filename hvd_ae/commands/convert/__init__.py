"""`hvd-ae convert`: data written anew by all ranks, in a layout that is quick to read."""
