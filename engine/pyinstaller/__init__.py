"""What PyInstaller needs to know; it finds this package by the entry point ``pyinstaller40``."""

import os


def hook_dirs() -> list[str]:
    """Return the folders with hooks (https://pyinstaller.org/en/stable/hooks.html)."""
    return [os.path.dirname(__file__)]
