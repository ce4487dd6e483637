"""bjoern, as its documentation says. python run_bjoern.py APP PORT"""

import sys

import bjoern
from loading import BACKLOG, application

bjoern.run(application(sys.argv[1]), "127.0.0.1", int(sys.argv[2]), listen_backlog=BACKLOG)
