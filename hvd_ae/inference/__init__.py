"""A trained model over samples: in fixed blocks, with results that are the same bytes on any number of ranks."""
