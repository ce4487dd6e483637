"""For tests of programs on green threads: a clock that jumps instead of waiting, orders that come from a seed, and a
network in memory whose faults the test decides.
"""

from greenserve.testing.clock import VirtualClock, virtual_time
from greenserve.testing.conditions import Conditions
from greenserve.testing.memory import MemorySocket
from greenserve.testing.network import Connection, Network, network

__all__ = ["Conditions", "Connection", "MemorySocket", "Network", "VirtualClock", "network", "virtual_time"]
