"""What is learnt: a file for each objective."""
