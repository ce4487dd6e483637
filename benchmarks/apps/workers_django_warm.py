"""The application of workers_django, which has answered one request by the time it is imported."""

from __future__ import annotations

from django.test import Client
from workers_django import application

__all__ = ["application"]

Client().get("/admin/login/")
