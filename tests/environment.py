"""A pytest plugin, loaded before Django's settings, that gives each test process a data folder of its own.

Tests use DATABASE_URL and REDIS_URL where they are set, and never guess them.
"""

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

_folder = tempfile.mkdtemp(prefix="patchvote-tests-")
atexit.register(shutil.rmtree, _folder, ignore_errors=True)

(Path(_folder) / "static").mkdir()  # else WhiteNoise warns that nothing was collected
os.environ["PATCHVOTE_DATA"] = _folder
# One thread for each process: pytest-xdist and the installations that tests start share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
for name in ("PATCHVOTE_HTTPS", "PATCHVOTE_DEBUG", "PATCHVOTE_HOST", "PORT"):
    os.environ.pop(name, None)
# A background job of a shell ignores Ctrl-C, and the processes that tests start and interrupt would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
