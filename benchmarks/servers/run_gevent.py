"""gevent.pywsgi, patched as its documentation says. python run_gevent.py APP PORT"""

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402

from gevent.pywsgi import WSGIServer  # noqa: E402
from loading import application, listener  # noqa: E402

WSGIServer(listener(int(sys.argv[2])), application(sys.argv[1]), log=None).serve_forever()
