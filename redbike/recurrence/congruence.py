"""Steps on a circle: how many it takes until one falls into a range, found without walking them."""


def steps_into(at: int, step: int, circle: int, first: int, last: int) -> int | None:
    """Return the least number of steps after which a walk round the circle, from `at`, is within first..last.

    All in the same unit; 0 <= first <= last < circle. None where no step ever falls there.
    """
    if first <= at <= last:
        return 0
    return _least(step % circle, circle, (first - at) % circle, (last - at) % circle)


def _least(step: int, circle: int, first: int, last: int) -> int | None:
    """Return the least k with first <= step * k mod circle <= last. As in Euclid's algorithm, the circle shrinks."""
    if first == 0:
        return 0
    if step == 0:
        return None
    k = -(-first // step)
    if step * k <= last:
        return k
    # No multiple of the step lies in the range. How many turns it takes is the same question on a circle of one step.
    turns = _least(circle % step, step, -last % step, -first % step)
    return None if turns is None else -(-(first + circle * turns) // step)
