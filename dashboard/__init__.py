"""The browser app and the command line of Tracefix."""

import os

# Set before torch is imported. torch's worker threads otherwise spin while they wait, and on a machine with other
# work going on (a browser, a second job) they starve each other: measured up to 15 times slower on two cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
