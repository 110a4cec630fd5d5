"""The tests of `on_ranks/` run under a launcher only, started by `test_on_ranks.py`."""

import os

collect_ignore_glob = [] if "HVD_AE_TEST_ENGINE" in os.environ else ["on_ranks/*"]
