"""One file a peer: as its own documentation recommends; each prints one ROW with its samples per second over all processes.

A peer takes the path of a .npy of samples, the seconds to warm up and to be timed for, and `name=value` for its own settings.
"""
