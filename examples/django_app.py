"""A Django project in a single file: settings, views, addresses, and the WSGI application.

pip install django
greenserve django_app:app
curl http://127.0.0.1:8000/
curl -F file=@README.md http://127.0.0.1:8000/upload
curl -N http://127.0.0.1:8000/stream

A project made by `django-admin startproject mysite` needs none of this: `greenserve mysite.wsgi:application`.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost", "[::1]"],
    # Each start makes a new key unless the environment has one; that logs all users out, which is fine for an example.
    SECRET_KEY=os.environ.get("DJANGO_SECRET_KEY") or secrets.token_urlsafe(50),
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.middleware.security.SecurityMiddleware", "django.middleware.common.CommonMiddleware"],
    USE_TZ=True,
)


@require_GET
def index(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"hello": "Django", "version": django.get_version(), "host": request.get_host()})


@require_GET
def slow(request: HttpRequest) -> HttpResponse:
    time.sleep(1)
    return JsonResponse({"slept": 1})


@require_GET
def stream(request: HttpRequest) -> StreamingHttpResponse:
    def lines() -> Iterator[str]:
        for number in range(1, 4):
            yield f"line {number}\n"
            time.sleep(0.2)

    return StreamingHttpResponse(lines(), content_type="text/plain")


@csrf_exempt  # there is no session here that another site could abuse
@require_POST
def upload(request: HttpRequest) -> HttpResponse:
    return JsonResponse({file.name: file.size for file in request.FILES.values()})


urlpatterns = [path("", index), path("slow", slow), path("stream", stream), path("upload", upload)]

app = get_wsgi_application()
