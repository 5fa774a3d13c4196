"""The function that RQ would run."""


def add(left: int, right: int) -> int:
    """Return the sum."""
    return left + right
