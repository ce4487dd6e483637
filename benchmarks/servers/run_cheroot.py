"""cheroot, CherryPy's server. python run_cheroot.py APP PORT THREADS"""

import sys

from cheroot.wsgi import Server
from loading import BACKLOG, application

server = Server(
    ("127.0.0.1", int(sys.argv[2])),
    application(sys.argv[1]),
    numthreads=int(sys.argv[3]),
    request_queue_size=BACKLOG,
    timeout=75,
)
server.keep_alive_conn_limit = 10_000  # the default of 10 would close the connections of the idle scenario
server.safe_start()
