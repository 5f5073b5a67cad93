"""Ctrl-C and SIGTERM as a wish that the chains fulfil after the step they are in."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

__all__ = ["Interrupted", "Interrupts", "interrupts"]


class Interrupted(KeyboardInterrupt):
    """A checkpointed run was ended by a signal; all of its finished steps are on disk.

    >>> issubclass(Interrupted, KeyboardInterrupt)
    True
    """

    signal = int(signal.SIGINT)  # which one it was


class Interrupts:
    """The first signal is remembered; a second SIGINT raises KeyboardInterrupt at once."""

    def __init__(self) -> None:
        self.received: int | None = None

    def requested(self) -> bool:
        """Whether the chains should end."""
        return self.received is not None

    def receive(self, number: int, frame: FrameType | None) -> None:
        """What the system calls."""
        if self.requested() and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = self.received or number


@contextmanager
def interrupts(signals: Sequence[int]) -> Iterator[Interrupts]:
    """Signals of the block, in the main thread only; the caller's handlers come back.

    >>> with interrupts([signal.SIGINT]) as caught:
    ...     signal.raise_signal(signal.SIGINT)
    ...     caught.requested()
    True
    """
    caught = Interrupts()
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in signals} if main else {}
    try:
        for number in before:
            signal.signal(number, caught.receive)
        yield caught
    finally:
        for number, handler in before.items():
            # None: a handler that was not set from Python and cannot be set from there
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
