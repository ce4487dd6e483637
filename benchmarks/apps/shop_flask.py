"""A product's reviews as JSON, for the user of the session cookie, in Flask."""

from flask import Flask, Response, jsonify, request, session

app = Flask(__name__)
app.secret_key = "benchmark"


@app.get("/login")
def login() -> str:
    session["user"] = "ada"
    return ""


@app.get("/products/<int:number>/reviews")
def reviews(number: int) -> Response:
    return jsonify(product=number, page=int(request.args["page"]), user=session["user"])
