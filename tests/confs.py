"""Load the text of a conf, in the current folder of the test."""

from pathlib import Path
from typing import Any

import pytest

from redbike.config import Config, load
from redbike.errors import ConfigError


def conf(text: str | bytes) -> Config:
    """Load `text` from a file called redbike.conf."""
    Path("redbike.conf").write_bytes(text if isinstance(text, bytes) else text.encode())
    return load("redbike.conf")


def redis_conf(lines: str) -> dict[str, Any]:
    """Return what the section [redbike-redis] becomes with these lines."""
    return dict(conf(f"[redbike]\n[redbike-redis]\n{lines}\n").redis)


def refusal(text: str | bytes) -> str:
    """Return the message of the ConfigError for a file with this text."""
    with pytest.raises(ConfigError) as error:
        conf(text)
    message = str(error.value)
    assert "\n" not in message
    return message
