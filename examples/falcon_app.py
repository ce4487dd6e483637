"""A Falcon application: a resource with its methods, validation, and errors as JSON.

pip install falcon
greenserve falcon_app:app
curl http://127.0.0.1:8000/quotes/1
curl -X PUT -H 'Content-Type: application/json' -d '{"text": "Simple is better."}' http://127.0.0.1:8000/quotes/2
"""

from __future__ import annotations

import time

import falcon

MAX_QUOTES = 100


class Quotes:
    def __init__(self) -> None:
        self.texts = {1: "Explicit is better than implicit."}

    def on_get(self, request: falcon.Request, response: falcon.Response, number: int) -> None:
        if number not in self.texts:
            raise falcon.HTTPNotFound(description=f"There is no quote {number}.")
        response.media = {"number": number, "text": self.texts[number]}

    def on_put(self, request: falcon.Request, response: falcon.Response, number: int) -> None:
        media = request.get_media()
        text = media.get("text") if isinstance(media, dict) else None
        if not isinstance(text, str) or not 0 < len(text) <= 1000:
            raise falcon.HTTPBadRequest(description="text is a string of 1 to 1000 characters")
        if number not in self.texts and len(self.texts) >= MAX_QUOTES:
            raise falcon.HTTPForbidden(description=f"{MAX_QUOTES} quotes are enough")
        response.status = falcon.HTTP_200 if number in self.texts else falcon.HTTP_201
        self.texts[number] = text
        response.media = {"number": number, "text": text}


class Slow:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        time.sleep(1)
        response.media = {"slept": 1}


app = falcon.App()
app.add_route("/quotes/{number:int(min=1)}", Quotes())
app.add_route("/slow", Slow())
