"""`cme-tui secrets`: password and keys, for the one who has to enter them into a head-end system."""

from __future__ import annotations

import json
from pathlib import Path

from core.config import load_config
from core.errors import CmeError
from core.secrets import load_secrets
from core.statedir import StateDir


def show(state_dir: Path, as_json: bool) -> int:
    """Print system title, password and keys. Raises CmeError, also before the first start."""
    paths = StateDir(state_dir)
    gateway = load_config(paths.config).gateway
    if not gateway.serial or not paths.secrets.exists():
        raise CmeError(f"There are no secrets in {state_dir} yet; start the gateway once, it makes them.")
    secrets = load_secrets(paths.secrets)
    values = {
        "system_title": gateway.system_title.hex().upper(),
        "lls_password": secrets.lls_password,
        "master_key": secrets.master_key.hex().upper(),
        "authentication_key": secrets.authentication_key.hex().upper(),
        "encryption_key": secrets.encryption_key.hex().upper(),
    }
    if as_json:
        print(json.dumps(values))
    else:
        for name, value in values.items():
            print(f"{name.replace('_', ' '):<20}{value}")
    return 0
