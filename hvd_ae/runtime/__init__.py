"""This process among the others: which rank it is, how it starts, is watched, is stopped, and fails together with them."""
