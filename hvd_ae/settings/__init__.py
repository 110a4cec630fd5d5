"""A dataclass for each command: the only lists of settings, which command line, TOML file and Python all fill in."""
