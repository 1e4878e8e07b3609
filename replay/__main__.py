"""`python -m replay --stack dev [--send ID... | --send-all]`."""

import os
import signal
import sys
from pathlib import Path

from bootstrap.bootstrap import ROOT
from replay.replay import main

# Whoever ends it by a signal lets the messages be seen again too.
signal.signal(signal.SIGTERM, signal.default_int_handler)
sys.exit(main(root=Path(os.environ.get("SLIPWAY_PLATFORM") or ROOT)))
