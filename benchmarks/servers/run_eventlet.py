"""eventlet.wsgi, patched as its documentation says. python run_eventlet.py APP PORT"""

import eventlet

eventlet.monkey_patch()

import sys  # noqa: E402

import eventlet.wsgi  # noqa: E402
from loading import application, listener  # noqa: E402

# max_size is the most connections at once, idle ones among them: the default of 1,024 would refuse the idle scenario.
eventlet.wsgi.server(
    listener(int(sys.argv[2]), create=eventlet.listen), application(sys.argv[1]), log_output=False, max_size=10_000
)
