"""`python -m bootstrap --stack dev [--apply]`."""

import sys

from bootstrap.bootstrap import main

sys.exit(main())
