"""The gateway without a terminal: M-Bus lines, store, mapping, COSEM objects, DLMS server.

Nothing in here imports the UI (checked by import-linter) and nothing in here prints.
"""

from importlib import metadata

VERSION = metadata.version("cme-tui")
