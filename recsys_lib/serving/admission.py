"""Whether a request is let in: how long it has waited, and how long it would wait for those before it."""

from __future__ import annotations

import time

# Requests in flight from which the pace is learnt: fewer do not show what a queue waits for.
BUSY = 8
# Answers over which the pace is a mean, exponentially weighted.
REMEMBERED = 50


class Admission:
    """Counts requests in flight and the seconds between answers while many are.

    A request that came ``age_s`` ago waits for those in flight, one pace each: it is let in if fewer than
    ``max_in_flight`` are there and ``age_s + in_flight * pace_s`` is at most ``max_wait_s``. Requests that
    are let in are thus answered within about that time, whatever comes beside them.
    """

    def __init__(self, max_in_flight: int = 256, max_wait_s: float = 0.5):
        self.max_in_flight, self.max_wait_s = max_in_flight, max_wait_s
        self.in_flight = self.refused = 0
        self.pace_s = 0.0
        self._last = 0.0

    def admits(self, age_s: float = 0.0) -> bool:
        """Whether a request that came ``age_s`` ago is let in; counts those that are not."""
        expected = age_s + self.in_flight * self.pace_s
        if self.in_flight < self.max_in_flight and expected <= self.max_wait_s:
            return True
        self.refused += 1
        return False

    def began(self) -> None:
        """A request was let in."""
        if self.in_flight < BUSY:
            self._last = time.monotonic()
        self.in_flight += 1

    def ended(self) -> None:
        """A request that was let in is answered, or gone."""
        now = time.monotonic()
        if self.in_flight >= BUSY:
            self.pace_s += (now - self._last - self.pace_s) / REMEMBERED
        self._last = now
        self.in_flight -= 1
