"""Monkey-patching, each case in an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def run(program):
    """Run a program; it fails by raising. Returns what it wrote on standard output and standard error."""
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_importing_greenserve_patches_nothing():
    run("""
        import select, selectors, socket, time
        before = [dict(vars(m)) for m in (select, selectors, socket, time)]
        import greenserve, greenserve.green.monkey as monkey
        assert before == [dict(vars(m)) for m in (select, selectors, socket, time)]
        assert not monkey.is_monkey_patched("socket")
    """)


def test_patching_makes_blocking_code_concurrent():
    run("""
        from greenserve.green import monkey
        monkey.monkey_patch()
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
        assert monkey.is_monkey_patched("socket") and monkey.is_monkey_patched("selectors")
    """)


def test_twice_is_harmless_and_the_originals_stay_at_hand():
    run("""
        import socket, time
        real = socket.socket, time.sleep
        from greenserve.green import monkey
        monkey.monkey_patch()
        green = socket.socket, time.sleep
        monkey.monkey_patch()
        assert (socket.socket, time.sleep) == green != real
        assert (monkey.original("socket").socket, monkey.original("time").sleep) == real
        assert issubclass(socket.socket, real[0])
    """)


def test_one_may_choose():
    run("""
        from greenserve.green import monkey
        monkey.monkey_patch(time=True)
        assert monkey.is_monkey_patched("time") and not monkey.is_monkey_patched("socket")
        monkey.monkey_patch(socket=False)
        assert monkey.is_monkey_patched("select") and not monkey.is_monkey_patched("socket")
        try:
            monkey.monkey_patch(sockets=True)
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
        from greenserve.green import monkey
        monkey.monkey_patch()
    """)
    assert "LatePatchWarning" in stderr
    assert "early.sleep (time.sleep)" in stderr


def test_patching_in_time_does_not_warn():
    _, stderr = run("""
        from greenserve.green import monkey
        monkey.monkey_patch()
    """)
    assert stderr == ""
