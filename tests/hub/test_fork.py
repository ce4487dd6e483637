"""fork: the child has a fresh hub, and of the parent's green threads only the one that forked."""

from __future__ import annotations

import pytest

from tests.hub.support import run

PRELUDE = """
import os, signal, sys, threading, time, warnings
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
from greenserve.hub import current_hub, getcurrent, running, sleep, spawn, wake
def say(word):
    os.write(1, (word + "\\n").encode())
def fork(child, *args):
    pid = os.fork()
    if pid:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        say(f"the child ended with {status}")
    else:
        child(*args)
        os._exit(0)
def at_work(seconds=0.05):
    try:
        sleep(seconds)
        say(f"parent's thread in {'the child' if os.getpid() != parent else 'the parent'}")
    finally:
        if os.getpid() != parent:
            say("unwound in the child")
parent = os.getpid()
"""


def said(code: str, status: int = 0) -> list[str]:
    done = run(PRELUDE + code, status=status)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_forked_in_main_the_child_has_a_fresh_hub():
    assert said(
        """
def child():
    hub = current_hub()
    assert hub is before and running() is hub.main
    assert spawn(int, "7").wait() == 7
    sleep(0.1)
    reader, writer = os.pipe()
    spawn(lambda: sleep(0.01) or os.write(writer, b"x"))
    hub.wait_readable(reader)
    say("works")
before = current_hub()
thread = spawn(at_work)
never = spawn(at_work, 1000)
spawn(int).wait()
sleep(0)
fresh = spawn(at_work, 0.01)
fork(child)
thread.wait()
fresh.wait()
"""
    ) == ["works", "the child ended with 0", "parent's thread in the parent", "parent's thread in the parent"]


def test_forked_in_a_green_thread_the_child_has_a_fresh_hub():
    assert said(
        """
def child():
    thread = getcurrent()
    assert running().hub.main is running()
    assert spawn(int, "7").wait() == 7
    sleep(0.1)
    say("works")
thread = spawn(at_work)
try:
    spawn(fork, child).wait()
finally:
    say("main's finally")
thread.wait()
"""
    ) == ["works", "the child ended with 0", "main's finally", "parent's thread in the parent"]


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("pass", 0),
        ("sys.exit(5)", 5),
        ("sys.exit()", 0),
        ("spawn(sys.exit, 6); sleep(1)", 6),
        ("spawn(lambda: sleep(0.05) or say('outlives it'))", 0),
        ("spawn(lambda: sleep(0.05) or sys.exit(7))", 7),
    ],
)
def test_a_child_forked_in_a_green_thread_ends_with_it(ending: str, status: int):
    lines = said(
        f"""
import atexit
atexit.register(lambda: say("the parent's atexit" if os.getpid() == parent else "atexit in the child"))
def forks():
    if os.fork():
        return
    sleep(0.01)
    {ending}
spawn(forks).wait()
try:
    pid, status = os.wait()
    say(f"ended with {{os.waitstatus_to_exitcode(status)}}")
finally:
    say("main's finally")
"""
    )
    expected = [f"ended with {status}", "main's finally", "the parent's atexit"]
    assert lines == (["outlives it", *expected] if "outlives" in ending else expected)


def test_a_child_forked_in_a_green_thread_that_fails_says_so():
    done = run(
        PRELUDE
        + """
def forks():
    if not os.fork():
        sleep(0.01)
        if len(sys.argv) > 5: pass
        raise LookupError("in the child")
spawn(forks).wait()
print(os.waitstatus_to_exitcode(os.wait()[1]))
def forks():
    if not os.fork():
        sys.exit("a sentence")
spawn(forks).wait()
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    )
    assert done.stdout.split() == ["1", "1"]
    assert done.stderr.count("LookupError: in the child") == 1
    assert "a sentence\n" in done.stderr


def test_sigint_in_a_child_forked_in_a_green_thread_reaches_that_one():
    assert said(
        """
def child():
    try:
        sleep(30)
    except KeyboardInterrupt:
        say("interrupted")
        sleep(0.01)
def forks():
    pid = os.fork()
    if not pid:
        say("child")
        child()
        return
    sleep(0.3)
    os.kill(pid, signal.SIGINT)
    say(f"ended with {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}")
spawn(forks).wait()
"""
    ) == ["child", "interrupted", "ended with 0"]


def test_nobody_of_the_parents_can_be_woken_in_the_child():
    assert said(
        """
token = []
def waits():
    me = running()
    token.append(me)
    try:
        me.hub.park(me, token)
        say("woken in the child" if os.getpid() != parent else "woken in the parent")
    finally:
        if os.getpid() != parent:
            say("unwound in the child")
thread = spawn(waits)
sleep(0)
def child():
    say(str(wake(token)))
    sleep(0.02)
fork(child)
wake(token)
thread.wait()
"""
    ) == ["False", "the child ended with 0", "woken in the parent"]


def test_forked_in_a_callback_only_the_callback_goes_on():
    lines = said(
        """
def callback():
    if not os.fork():
        spawn(lambda: sleep(0.01) or say("the callback's thread"))
thread = spawn(at_work, 0.02)
current_hub().call_soon(callback)
sleep(0)
say(str(os.waitstatus_to_exitcode(os.wait()[1])))
thread.wait()
def timer():
    if not os.fork():
        say("in the child")
current_hub().call_later(0, timer)
current_hub().call_later(0, say, "the next timer, in the parent")
sleep(0.01)
os.wait()
"""
    )
    assert lines[:3] == ["the callback's thread", "0", "parent's thread in the parent"]
    assert sorted(lines[3:]) == ["in the child", "the next timer, in the parent"]  # two processes, in either order


def test_forked_in_a_users_own_greenlet():
    assert (
        said(
            """
import greenlet
def child():
    sleep(0.01)
    say("works")
greenlet.greenlet(fork).switch(child)
spawn(lambda: greenlet.greenlet(fork).switch(child)).wait()
"""
        )
        == ["works", "the child ended with 0"] * 2
    )


def test_forked_in_an_os_thread_of_its_own_hub():
    assert said(
        """
def child():
    sleep(0.01)
    assert spawn(int).wait() == 0
    os.kill(os.getpid(), signal.SIGINT)
def catching():
    try:
        fork(lambda: (child(), sleep(1)))
    except KeyboardInterrupt:
        say("interrupted")
        os._exit(3)
thread = spawn(at_work, 0.01)
sleep(0)
os_thread = threading.Thread(target=catching)
os_thread.start()
os_thread.join()
thread.wait()
"""
    ) == ["interrupted", "the child ended with 3", "parent's thread in the parent"]


def test_the_childs_hub_shares_no_descriptor_with_the_parents():
    assert said(
        """
hub = current_hub()
def other():
    global others
    others = current_hub()
    sleep(1000)
threading.Thread(target=other, daemon=True).start()
while not hub.sleeping and "others" not in globals():
    sleep(0.001)
def child():
    sleep(0.001)
    hub.call_soon_threadsafe(int)
    others.call_soon_threadsafe(int)
    own = {link for link in map(link_of, os.listdir("/proc/self/fd")) if link}
    say(f"{len(own)} of its own, {len(own & before)} of the parent's")
def link_of(fd):
    try:
        link = os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:
        return None
    return link if "pipe" in link and int(fd) > 2 else None
before = {link for link in map(link_of, os.listdir("/proc/self/fd")) if link}
assert len(before) == 2, before
fork(child)
"""
    ) == ["1 of its own, 0 of the parent's", "the child ended with 0"]


def test_a_process_that_forks_again_and_again():
    assert said(
        """
def generation(number):
    sleep(0.001)
    if number:
        pid = os.fork()
        if pid:
            sleep(0.001)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            sys.exit(status + 1)
        generation(number - 1)
spawn(generation, 5)
try:
    sleep(10)
except SystemExit as error:
    say(str(error.code))
"""
    ) == ["5"]


def test_multiprocessing_by_fork_in_main_and_in_a_green_thread():
    assert said(
        """
import multiprocessing
def child(number):
    sleep(0.01)
    say(f"child {number}: {spawn(int, number).wait()}")
context = multiprocessing.get_context("fork")
def start(number):
    process = context.Process(target=child, args=(number,))
    process.start()
    process.join()
    say(str(process.exitcode))
spawn(at_work, 1000)
sleep(0)
start(1)
spawn(start, 2).wait()
"""
    ) == ["child 1: 1", "0", "child 2: 2", "0"]
