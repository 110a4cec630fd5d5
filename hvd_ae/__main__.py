"""`python -m hvd_ae COMMAND` is `hvd-ae COMMAND`."""

import sys

from hvd_ae.cli import main

sys.exit(main())
