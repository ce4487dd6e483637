"""Tests of the standard library that pass unpatched and not patched, each with its reason."""

from __future__ import annotations

from fnmatch import fnmatchcase

_FLAGS = "looks at the descriptor's O_NONBLOCK flag: a green socket is non-blocking underneath, whatever its timeout"
_INTERNALS = "looks at private attributes of the standard library's class"
_CLASS = "a lock, or a poll object, is of a class that can be instantiated, not of a hidden one"
_ONE_THREAD = "counts OS threads: green threads share one"
_NO_SWITCH = "needs a switch in the middle of a loop that never waits: green threads give way only where they wait"
_FRESH = "imports the C module afresh behind the patch's back"
_DUMMY = "expects a dummy thread to outlive the thread that it stands for, as up to Python 3.12; ours go with it"

EXCLUSIONS: dict[str, str] = {
    "test.test_socket.GeneralModuleTests.testRefCountGetNameInfo": "counts references; a question is remembered",
    "test.test_socket.NonBlockingTCPTests.testSetBlocking*": _FLAGS,
    "test.test_socket.NonblockConstantTest.test_SOCK_NONBLOCK": _FLAGS,
    "test.test_socket.TestExceptions.test_setblocking_invalidfd": "setblocking makes no system call",
    "test.test_queue.*.test_shutdown_all_methods_in_many_threads": _NO_SWITCH,
    "test.test_queue.*.test_shutdown_immediate_all_methods_in_many_threads": _NO_SWITCH,
    "test.test_queue.CSimpleQueueTest.test_many_threads": _FRESH,
    "test.test_queue.CSimpleQueueTest.test_many_threads_timeout": _FRESH,
    "test.test_queue.CSimpleQueueTest.test_order": _FRESH,
    "test.test_select.SelectTestCase.test_disallow_instantiation": _CLASS,
    "test.test_threading.ThreadTests.test_disallow_instantiation": _CLASS,
    "test.test_threading.ThreadTests.test_lock_no_subclass": _CLASS,
    "test.test_threading.CRLockTests.test_signature": "passes arguments, which RLock ignores and newer versions refuse",
    "test.test_threading.EventTests.test_at_fork_reinit": _INTERNALS,
    "test.test_threading.ThreadTests.test_tstate_lock": _INTERNALS,
    "test.test_threading.MiscTestCase.test__all__": "expects every name to have been defined in threading or _thread",
    "test.test_threading.ThreadTests.test_PyThreadState_SetAsyncExc": "needs an OS thread's number",
    "test.test_threading.ThreadTests.test_various_ops*": _ONE_THREAD,
    "test.test_threading.ThreadTests.test_foreign_thread": _DUMMY,
    "test.test_threading.ThreadTests.test_ident_of_no_threading_threads": _DUMMY,
    "test.test_threading.InterruptMainTests.test_can_interrupt_tight_loops": _NO_SWITCH,
    "test.test_threading.InterruptMainTests.test_interrupt_main_subthread": (
        "KeyboardInterrupt comes at main's next wait; there is none before the assertion, and it would hit a later test"
    ),
    "test.test_signal.StressTest.test_stress_modifying_handlers": _NO_SWITCH,
    "test.test_threading_local.ThreadLocalTest.test_cycle_collection": (
        "an attribute of a local that refers to the local itself is freed when the thread ends, not by the collector"
    ),
    "test.test_concurrent_futures.*.test_python_finalization_error": (
        "replaces a private function of threading by which a pool of processes does not start its threads here"
    ),
    "test.test_concurrent_futures.*.test_idle_process_reuse_one": (
        "a race: the waiter for a result is woken before the pool has counted its process as idle again"
    ),
    "test.test_multiprocessing_spawn.*.WithManagerTestRemoteManager.test_remote": (
        "expects that XML-RPC cannot carry time.sleep, as it can a function that is written in Python"
    ),
    "test.test_logging.ConfigDictTest.test_config_queue_handler": _NO_SWITCH,
    "test.test_asyncio.test_base_events.BaseEventLoopTests.test_check_thread": (
        "has an event loop with a mock for a selector: it never waits, so no other thread runs"
    ),
    "test.test_asyncio.test_events.*.test_add_signal_handler": "the hub handles SIGINT in the place of the default",
    "test.test_asyncio.test_events.*.test_create_server_trsock": "asyncio's own sockets are of the real class",
}
"""Patterns of test names (optionally "3.12:" before them), and why they fail."""


def reason_for(test: str, version: str) -> str | None:
    """Why a test may fail; None: it may not."""
    for pattern, reason in EXCLUSIONS.items():
        only, _, name = pattern.rpartition(":")
        if (not only or only == version) and fnmatchcase(test, name):
            return reason
    return None
