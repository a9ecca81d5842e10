"""Superset on this machine alone, for looking at a star: everything lies in one folder."""

import os
from pathlib import Path

_FOLDER = Path(os.environ["FIDELITY_SUPERSET"])

SECRET_KEY = (_FOLDER / "secret").read_text()
SQLALCHEMY_DATABASE_URI = f"sqlite:///{_FOLDER / 'superset.db'}"
DATA_DIR = str(_FOLDER)
# Its pages are served on the loopback address, without TLS.
TALISMAN_ENABLED = False
SESSION_COOKIE_SAMESITE = "Lax"
RATELIMIT_STORAGE_URI = "memory://"
WTF_CSRF_ENABLED = True
SQLLAB_TIMEOUT = 30
LOG_LEVEL = "WARNING"
