"""Monkey-patching, each case in an interpreter of its own."""

from __future__ import annotations

from pathlib import Path

from tests.patching.programs import run

LOCALHOST = str(Path(__file__).parent.parent / "certificates" / "localhost.pem")


def test_importing_greenserve_patches_nothing():
    run("""
        import select, selectors, socket, time
        before = [dict(vars(m)) for m in (select, selectors, socket, time)]
        import greenserve
        assert before == [dict(vars(m)) for m in (select, selectors, socket, time)]
        assert not greenserve.is_monkey_patched("socket")
    """)


def test_patching_makes_blocking_code_concurrent():
    run("""
        import greenserve
        greenserve.monkey_patch()
        import socket, time
        from greenserve.hub import spawn
        order = []
        def slow():
            time.sleep(0.02)
            order.append("slow")
        def quick():
            left, right = socket.socketpair()
            spawn(right.send, b"x")
            left.recv(1)
            order.append("quick")
        threads = [spawn(slow), spawn(quick)]
        for thread in threads:
            thread.wait()
        assert order == ["quick", "slow"], order
        assert greenserve.is_monkey_patched("socket") and greenserve.is_monkey_patched("selectors")
    """)


def test_twice_is_harmless_and_the_originals_stay_at_hand():
    run("""
        import socket, time
        real = socket.socket, time.sleep
        import greenserve
        greenserve.monkey_patch()
        green = socket.socket, time.sleep
        greenserve.monkey_patch()
        assert (socket.socket, time.sleep) == green != real
        assert (greenserve.original("socket").socket, greenserve.original("time").sleep) == real
        assert issubclass(socket.socket, real[0])
    """)


def test_one_may_choose():
    run("""
        import greenserve
        greenserve.monkey_patch(time=True)
        assert greenserve.is_monkey_patched("time") and not greenserve.is_monkey_patched("socket")
        greenserve.monkey_patch(socket=False)
        assert greenserve.is_monkey_patched("select") and not greenserve.is_monkey_patched("socket")
        try:
            greenserve.monkey_patch(sockets=True)
        except ValueError as error:
            raise
        except Exception as error:
            assert "sockets" in str(error)
    """)


def test_patching_late_warns_and_names_the_holder():
    _, stderr = run("""
        import sys, types
        module = types.ModuleType("early")
        exec("from time import sleep", vars(module))
        sys.modules["early"] = module
        import greenserve
        greenserve.monkey_patch()
    """)
    assert "LatePatchWarning" in stderr
    assert "early.sleep (time.sleep)" in stderr


def test_patching_in_time_does_not_warn():
    _, stderr = run("""
        import greenserve
        greenserve.monkey_patch()
    """)
    assert stderr == ""


def test_patched_tls_is_green_for_contexts_that_exist_already():
    run(f"""
        import ssl
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain({LOCALHOST!r})
        import greenserve
        greenserve.monkey_patch()
        import http.client, socket
        from greenserve.hub import spawn
        client = ssl.create_default_context(cafile={LOCALHOST!r})
        client.minimum_version = ssl.TLSVersion.TLSv1_2
        listener = socket.create_server(("127.0.0.1", 0))
        def serve():
            while True:
                connection, _ = listener.accept()
                with server.wrap_socket(connection, server_side=True) as tls:
                    assert isinstance(tls, ssl.SSLSocket)
                    tls.recv(10000)
                    tls.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nhi")
        spawn(serve)
        port = listener.getsockname()[1]
        connection = http.client.HTTPSConnection("localhost", port, context=client)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"hi"
        connection.close()
        import requests
        assert requests.get(f"https://localhost:{{port}}/", verify={LOCALHOST!r}).text == "hi"
    """)


def test_a_patched_call_tells_of_a_closed_descriptor_at_once():
    run("""
        import greenserve
        greenserve.monkey_patch()
        import errno, os, select
        reader, writer = os.pipe()
        os.close(reader)  # the first number that is free
        try:
            select.select([reader], [], [], 0)
        except OSError as error:
            assert error.errno == errno.EBADF
        else:
            raise AssertionError("the hub has taken the number")
    """)
