"""The room of a pool: so many places, and more or fewer of them while they are taken."""

from __future__ import annotations

from greenserve.hub.sync.lock import Semaphore


class Room(Semaphore):
    """A semaphore whose number of permits may change. One that is given up while it is taken is a debt, which the next
    that is given back pays.
    """

    __slots__ = ("_debt",)

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._debt: list[bool] = []  # pop and append are atomic

    @property
    def in_debt(self) -> bool:
        """Whether more permits are taken than there are to be."""
        return bool(self._debt)

    def pay_debt(self) -> bool:
        """Pay with a permit that would be given back. Returns False where there is no debt."""
        if not self._debt:
            return False
        try:
            return self._debt.pop()
        except IndexError:  # another OS thread has just paid
            return False

    def give_back(self) -> None:
        """Give a permit back, or pay with it."""
        if not self._debt or not self.pay_debt():
            self.release()

    def resize(self, change: int) -> None:
        """Let there be so many permits more, or fewer."""
        for _ in range(change):
            self.give_back()
        for _ in range(-change):
            if not self._take():
                self._debt.append(True)
