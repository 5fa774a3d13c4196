"""The pages about moving are true: their commands run here, with the schedulers from which people move.

Blocks and server are those of test_bridge_pages.py.
"""

import pytest
import test_bridge_pages as bridge_pages

PAGES = (
    "docs/moving-from-redbeat.md",
    "docs/moving-from-rediscron.md",
    "docs/moving-from-celery-beat.md",
    "docs/moving-from-apscheduler.md",
)

typist = bridge_pages.typist


@pytest.mark.parametrize("page", PAGES)
def test_page(page: str, typist: bridge_pages.Typist) -> None:
    """The commands of the page print the output that the page shows, one section after the other."""
    bridge_pages.test_page(page, typist)
