"""A listener of one of several processes: what it leaves to others, and what only it can still accept."""

from __future__ import annotations

import socket

import greenserve
from greenserve.hub.core.hub import current_hub
from greenserve.net.listener import Listener, bind_listener, start_listening
from greenserve.settings import parse_address
from greenserve.settings.access import Access


def test_a_connection_that_was_accepted_is_not_left_to_another_process():
    address = parse_address("127.0.0.1:0")
    sock = bind_listener(address, Access())
    start_listening(sock, address, 10)
    offered, done = [], greenserve.Event()
    others_have_room = False

    def accepted(connection, peer):
        nonlocal others_have_room
        offered.append(connection)
        if len(offered) == 2:
            done.send()
            return True
        others_have_room = True  # from now on, and for ever
        return False  # there is no room here just now

    listener = Listener(current_hub(), sock, address, accepted, gives_way=lambda: others_have_room)
    try:
        with socket.create_connection(sock.getsockname()):
            done.wait(10)
        assert offered[0] is offered[1]
    finally:
        listener.close()
        for each in offered:
            each.close()
