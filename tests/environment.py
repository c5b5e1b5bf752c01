"""A pytest plugin, loaded before Django's settings: tests have a data folder of their own and touch no other.

DATABASE_URL and REDIS_URL are used where they are set; they are never guessed.
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
for name in ("PATCHVOTE_HTTPS", "PATCHVOTE_DEBUG", "PATCHVOTE_HOST", "PORT"):
    os.environ.pop(name, None)
# A shell's background job ignores Ctrl-C, and so would all that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
