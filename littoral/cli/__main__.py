"""`python -m littoral.cli`."""

import sys

from littoral.cli import main

sys.exit(main())
