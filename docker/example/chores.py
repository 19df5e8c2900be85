"""What the containers of compose.yaml compute."""

import math


def digits(number: int) -> int:
    """Return how many digits the factorial of a number has."""
    return len(str(math.factorial(number)))
