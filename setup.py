"""Metadata is in pyproject.toml but for the description, which is the README without links that lead nowhere there.

The project has no public address: a link from the README to another file of the checkout would be broken wherever the
description is shown. Such a link becomes the name of the file, which the source distribution holds.
"""

import re
from pathlib import Path

from setuptools import setup

README = Path(__file__).with_name("README.md").read_text("utf-8")


def without_relative_links(text: str) -> str:
    """The text of Markdown with `[words](file)` as `words (file)`; links to the web and inside of the page stay."""

    def named(link: re.Match[str]) -> str:
        words, file = link[1], link[2]
        return words if words == file else f"{words} ({file})"

    return re.sub(r"\[([^\]\n]+)\]\((?!https?://|#)([^)\s]+)\)", named, text)


setup(long_description=without_relative_links(README), long_description_content_type="text/markdown")
