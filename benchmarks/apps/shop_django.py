"""A product's reviews as JSON, for the user of the session cookie, in Django; as `app`."""

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

settings.configure(
    SECRET_KEY="benchmark",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
    ],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",  # as Flask: no database in the comparison
    SESSION_COOKIE_NAME="session",
)


def login(request: HttpRequest) -> HttpResponse:
    request.session["user"] = "ada"
    return HttpResponse()


def reviews(request: HttpRequest, number: int) -> JsonResponse:
    return JsonResponse({"product": number, "page": int(request.GET["page"]), "user": request.session["user"]})


urlpatterns = [path("login", login), path("products/<int:number>/reviews", reviews)]
app = get_wsgi_application()
