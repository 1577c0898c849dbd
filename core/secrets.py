"""Password and keys of a gateway, in a file that only its owner can read.

Kept apart from the configuration so that the one can be shown and copied without the other.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import secrets
import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import tomli_w

from core.config import ConfigError, NotWrittenError, nearest
from core.statedir import write_atomically

log = logging.getLogger(__name__)

KEY_BYTES = 16
"""Length of every key: security suite 0 and M-Bus mode 5 both use AES-128."""

_PASSWORD_LENGTH = 16
_PASSWORD_LETTERS = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKMNPQRSTUVWXYZ23456789"
"""Without those that look alike: i l o I L O 0 1."""

_GATEWAY_KEYS = ("master_key", "authentication_key", "encryption_key")
GENERATED: Final = ("lls_password", *_GATEWAY_KEYS)
"""What can be made at random; the keys of meters come with the meters."""

_METER_KEY = "meter_keys."
_NAMES = ("lls_password", *_GATEWAY_KEYS, "meter_keys")


@dataclass(frozen=True, slots=True)
class Secrets:
    """What nobody but the owner and a head-end system may know. Never shown by `repr`."""

    lls_password: str = field(repr=False)
    """1 to 64 printable ASCII characters."""
    master_key: bytes = field(repr=False)
    """KEK, 16 bytes."""
    authentication_key: bytes = field(repr=False)
    """AK, 16 bytes."""
    encryption_key: bytes = field(repr=False)
    """EK, 16 bytes."""
    meter_keys: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    """Keys of encrypted meters by identification (8 digits), 16 bytes each."""

    @classmethod
    def generate(cls) -> Secrets:
        """New ones, from the random source of the operating system."""
        password = "".join(secrets.choice(_PASSWORD_LETTERS) for _ in range(_PASSWORD_LENGTH))
        master, authentication, encryption = (secrets.token_bytes(KEY_BYTES) for _ in range(3))
        return cls(password, master, authentication, encryption)


def load_secrets(path: Path) -> Secrets:
    """Read `path`, and take away the rights of others to read it where they have any.

    Raises ConfigError; no message contains a secret.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            path.chmod(0o600)
            log.warning(
                "%s could be read by others (mode %04o); it is now 0600, change what may be known", path, mode
            )
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist; the first start of the gateway makes it.") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be used: {error.strerror}; it must belong to this user.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        # `from None`: these errors quote the text that they stumbled over.
        raise ConfigError(f"{path} is not valid TOML; correct it, or restore it from a backup.") from None
    return _parse(raw, path)


def ensure_secrets(path: Path) -> Secrets:
    """Read `path`, or make it with new random secrets at the first start. Raises ConfigError.

    Takes away what a gateway that was killed while it wrote has left beside it: keys that are used no more.
    """
    for left in path.resolve().parent.glob(f".{path.resolve().name}.*"):
        with contextlib.suppress(OSError):
            left.unlink()
    if not path.exists():
        save_secrets(path, Secrets.generate())
        log.info("Made a new password and new keys in %s", path)
    return load_secrets(path)


def save_secrets(path: Path, values: Secrets) -> None:
    """Replace `path` in one step; it has mode 0600 from its first byte on. Raises ConfigError."""
    content = {
        "lls_password": values.lls_password,
        "master_key": values.master_key.hex(),
        "authentication_key": values.authentication_key.hex(),
        "encryption_key": values.encryption_key.hex(),
        "meter_keys": {meter: key.hex() for meter, key in values.meter_keys.items()},
    }
    try:
        write_atomically(path, tomli_w.dumps(content).encode(), 0o600)
    except OSError as error:
        raise NotWrittenError(
            f"{path} cannot be written: {error.strerror}; free space there or give this user the right to."
        ) from error


def set_secrets(path: Path, values: Mapping[str, str]) -> Secrets:
    """Change secrets in `path`, which must be there, as `changed_secrets` takes them. Raises ConfigError."""
    secrets = changed_secrets(load_secrets(path), values)
    save_secrets(path, secrets)
    return secrets


def changed_secrets(present: Secrets, values: Mapping[str, str]) -> Secrets:
    """`present` with other values: the password as text, keys as 32 hex digits.

    The names are those of `GENERATED`, and "meter_keys.12345678" for the key of a meter. Raises
    ConfigError; no message contains a value.
    """
    changes: dict[str, Any] = {}
    meters = dict(present.meter_keys)
    for name, text in values.items():
        if name == "lls_password":
            if not (isinstance(text, str) and is_password(text)):
                raise ConfigError("lls_password must be 1 to 64 printable ASCII characters.")
            changes[name] = text
        elif name in _GATEWAY_KEYS:
            changes[name] = _typed_key(text, name)
        elif name.startswith(_METER_KEY):
            meter = name.removeprefix(_METER_KEY)
            if not _is_identification(meter):
                raise ConfigError("A meter is named by its 8 digits, as in meter_keys.12345678.")
            meters[meter] = _typed_key(text, name)
        else:
            # Not what was given: who swaps name and value has a secret there.
            raise ConfigError(
                f"There is no secret of that name; known are: {', '.join(GENERATED)}, meter_keys.12345678."
            )
    secrets = replace(present, **changes, meter_keys=MappingProxyType(meters))
    keys = {name: getattr(secrets, name) for name in _GATEWAY_KEYS}
    for name in changes:
        same = [other for other, key in keys.items() if other != name and key == keys.get(name)]
        if same:
            raise ConfigError(f"{name} and {same[0]} would be the same key; give each its own.")
    return secrets


def generated(names: Iterable[str]) -> dict[str, str]:
    """New values for these of `GENERATED`, as `changed_secrets` takes them. Raises ConfigError for another name."""
    new = Secrets.generate()
    values = {}
    for name in names:
        if name not in GENERATED:
            raise ConfigError(f"{name} cannot be generated{nearest(name, GENERATED)}")
        value = getattr(new, name)
        values[name] = value if isinstance(value, str) else value.hex()
    return values


def shown_fingerprint(value: str | bytes) -> str:
    """What tells one secret from another and gives nothing away: for a key 8 hex digits of its SHA-256.

    For a password, which may be short enough to be found from any digest, only its length.
    """
    if isinstance(value, str):
        return f"{len(value)} characters" if len(value) > 1 else "1 character"
    return hashlib.sha256(value).hexdigest()[:8].upper()


def is_password(text: str) -> bool:
    """Whether it can be an LLS password: 1 to 64 printable ASCII characters."""
    return text.isascii() and text.isprintable() and 0 < len(text) <= 64


def _parse(raw: Mapping[str, Any], path: Path) -> Secrets:
    for name in raw:
        if name not in _NAMES:
            raise ConfigError(f"{path}: {name} is no known key{nearest(name, _NAMES)}")
    for name in _NAMES[:-1]:
        if name not in raw:
            raise ConfigError(f"{path}: {name} is missing; add it, or restore the file from a backup.")
    password = raw["lls_password"]
    if not (isinstance(password, str) and is_password(password)):
        raise ConfigError(f"{path}: lls_password must be 1 to 64 printable ASCII characters.")
    meter_keys = raw.get("meter_keys", {})
    if not isinstance(meter_keys, dict):
        raise ConfigError(f"{path}: meter_keys must be a table of identifications and keys.")
    master, authentication, encryption = (_parse_key(raw[name], f"{path}: {name}") for name in _GATEWAY_KEYS)
    keys = {
        _meter(name, path): _parse_key(key, f"{path}: [meter_keys] {name}")
        for name, key in meter_keys.items()
    }
    return Secrets(password, master, authentication, encryption, MappingProxyType(keys))


def _is_identification(text: str) -> bool:
    return len(text) == 8 and text.isascii() and text.isdigit()


def _meter(name: str, path: Path) -> str:
    if not _is_identification(name):
        raise ConfigError(f"{path}: [meter_keys] names meters by their 8 digits; one name is different.")
    return name


def _parse_key(value: Any, where: str) -> bytes:
    key = _key(value)
    if key is None:
        raise ConfigError(f"{where} must be 32 hex digits in quotes.")
    return key


def _typed_key(value: Any, name: str) -> bytes:
    key = _key(value)
    if key is None:
        length = f", not {len(value)} characters" if isinstance(value, str) and len(value) != 32 else ""
        raise ConfigError(f"{name} must be exactly 32 hex digits{length}.")
    return key


def _key(value: Any) -> bytes | None:
    # Not bytes.fromhex alone: it takes blanks.
    if isinstance(value, str) and len(value) == 2 * KEY_BYTES:
        try:
            key = bytes.fromhex(value)
        except ValueError:
            return None
        if len(key) == KEY_BYTES:
            return key
    return None
