"""moto's server of S3 on loopback, which answers one request after the other: `s3_server.py PORT`.

moto checks the condition of a write and writes in two steps. Two requests at once could come between them, which S3 itself rules
out. Requests are received at the same time, so that a client which stands still keeps no other waiting.
"""

import io
import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple

moto = DomainDispatcherApplication(create_backend_app)
lock = threading.Lock()


def app(environ, start_response):
    length = int(environ.get("CONTENT_LENGTH") or 0)
    environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(length))
    with lock:
        return list(moto(environ, start_response))


run_simple("127.0.0.1", int(sys.argv[1]), app, threaded=True, request_handler=MotoRequestHandler)
