"""One file for each contestant: as its documentation recommends, at its best settings; each prints `RATE samples/s`."""
