"""gevent.pywsgi, patched as its documentation says. python run_gevent.py APP PORT [CERTIFICATE KEY]"""

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402

from gevent.pywsgi import WSGIServer  # noqa: E402
from loading import application, listener  # noqa: E402

tls = dict(zip(("certfile", "keyfile"), sys.argv[3:5], strict=False))
WSGIServer(listener(int(sys.argv[2])), application(sys.argv[1]), log=None, **tls).serve_forever()
