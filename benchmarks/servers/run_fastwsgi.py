"""FastWSGI, as its documentation says, with its Nagle switch off. python run_fastwsgi.py APP PORT"""

import sys

import fastwsgi
from loading import BACKLOG, application

fastwsgi.server.backlog = BACKLOG
fastwsgi.server.tcp_nodelay = 1
fastwsgi.run(application(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), loglevel=fastwsgi.LL_DISABLED)
