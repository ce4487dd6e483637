"""A product's reviews as JSON, for the user of the session cookie, in Falcon.

Falcon has no sessions of its own; the cookie is signed by what Flask signs its own with.
"""

import falcon
from itsdangerous import URLSafeTimedSerializer

sessions = URLSafeTimedSerializer("benchmark", salt="session")


class Login:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.set_cookie("session", sessions.dumps({"user": "ada"}), secure=False)


class Reviews:
    def on_get(self, request: falcon.Request, response: falcon.Response, number: int) -> None:
        session = sessions.loads(request.cookies["session"], max_age=86_400)
        response.media = {"product": number, "page": request.get_param_as_int("page"), "user": session["user"]}


app = falcon.App()
app.add_route("/login", Login())
app.add_route("/products/{number:int}/reviews", Reviews())
