"""Tools whose packages stay out of the project's lock: an environment of their own, made once."""

import hashlib
import subprocess
import sys
from pathlib import Path

ASK = Path(__file__).parent / "ask.py"
_LOCK = Path(__file__).parent / "requirements.lock"
_HOME = Path(".build/diff-tools")


def interpreter() -> str:
    """The Python of that environment."""
    stamp, python = _HOME / "made-from", _HOME / "bin" / "python"
    wanted = hashlib.sha256(_LOCK.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(_HOME)], check=True)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([python, *install, "--require-hashes", "-r", _LOCK], check=True)
        stamp.write_text(wanted)
    return str(python)
