"""Raw requests, and what RFC 9110 and RFC 9112 allow to be done with them.

A case is a name, the octets, and one expectation for each message: what the application gets, or a status that refuses.
`~` stands for CRLF in the text, so that a request fits on a line. The expectations come from the RFCs.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Accept:
    method: str
    path: str
    body: bytes = b""
    query: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    keep_alive: bool = True


@dataclass(frozen=True)
class Refuse:
    status: int


@dataclass(frozen=True)
class Wait:
    """Nothing is certain yet."""


WAIT = Wait()
H = "Host: a~"
GET = Accept("GET", "/")
NEXT = Accept("GET", "/next")
NEXT_RAW = f"GET /next HTTP/1.1~{H}~"


@dataclass(frozen=True)
class Case:
    name: str
    text: str
    expected: tuple[Accept | Refuse | Wait, ...]

    @property
    def raw(self) -> bytes:
        return self.text.replace("~", "\r\n").encode("latin-1")


def refused(group: str, status: int, *texts: str) -> list[Case]:
    return [Case(f"{group}: {text[:70]!r}", text, (Refuse(status),)) for text in texts]


def get_with(*lines: str) -> list[str]:
    return [f"GET / HTTP/1.1~{H}{line}~~{NEXT_RAW}" for line in lines]


def post_with(*lines: str) -> list[str]:
    return [f"POST / HTTP/1.1~{H}{line}~~5~hello~0~~{NEXT_RAW}" for line in lines]


def chunks(*texts: str) -> list[str]:
    return [f"POST / HTTP/1.1~{H}Transfer-Encoding: chunked~~{text}" for text in texts]


REQUEST_LINES = [
    # What is no HTTP is refused at once, without a line end.
    *refused(
        "not HTTP",
        400,
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "\x00",
        " GET / HTTP/1.1",
        "\tGET / HTTP/1.1",
        "\nGET / HTTP/1.1",
        "\rGET / HTTP/1.1",
        "(: 30 /",
        "GET  / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /a\tb",
        "GET /caf\xe9",
        "GET /\x7f",
        "GET / HTTPS",
        "GET / http/1.1",
        "GET / HTTP/1.1 ",
        "GET / HTTP/1.1\rX",
        "GET / HTTP/11",
        "GET / HTTP/1,1",
        "GET / HTTP/1.11",
        "GET / HTTP/1.1\n",
        "GET /~",
        "GET~",
        "~~\x00",
        "GET /#top",
        "G\xe9T / HTTP/1.1",
        "SSH-2.0-OpenSSH_9.6~",
        "EHLO example.org~",
        "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443~",
    ),
    *refused(
        "target form",
        400,
        f"GET * HTTP/1.1~{H}~",
        f"PRI * HTTP/1.1~{H}~",
        f"GET example.com:80 HTTP/1.1~{H}~",
        f"GET index.html HTTP/1.1~{H}~",
        f"GET ?x HTTP/1.1~{H}~",
        f"GET ** HTTP/1.1~{H}~",
        f"OPTIONS */ HTTP/1.1~{H}~",
        f"GET ftp://example.com/ HTTP/1.1~{H}~",
        f"GET http:/x HTTP/1.1~{H}~",
        f"GET http:///x HTTP/1.1~{H}~",
        f"GET http://user@example.com/ HTTP/1.1~{H}~",
        f"GET http://user:secret@example.com/ HTTP/1.1~{H}~",
        f"GET http://[::1/ HTTP/1.1~{H}~",
        f"GET http://[1::2::3]/ HTTP/1.1~{H}~",
        f"GET http://ex ample/ HTTP/1.1~{H}~",
        f"GET http://a:b/ HTTP/1.1~{H}~",
        f"CONNECT / HTTP/1.1~{H}~",
        f"CONNECT example.com HTTP/1.1~{H}~",
        f"CONNECT http://example.com/ HTTP/1.1~{H}~",
    ),
    *refused("tunnel", 501, f"CONNECT example.com:443 HTTP/1.1~{H}~", "CONNECT [::1]:443 HTTP/1.0~~"),
    *refused("method too long", 501, f"{'M' * 33} / HTTP/1.1~{H}~", "M" * 40),
    *refused(
        "version",
        505,
        "PRI * HTTP/2.0~~SM~~",
        f"GET / HTTP/2.0~{H}~",
        f"GET / HTTP/3.1~{H}~",
        f"GET / HTTP/0.9~{H}~",
        "GET / HTTP/5.6~",
    ),
    Case("a later minor version is 1.1", f"GET / HTTP/1.7~{H}~", (GET,)),
    Case("a later minor version needs Host", "GET / HTTP/1.7~~", (Refuse(400),)),
    Case("origin-form", f"GET /a/b%20c;d=1?e=f?g HTTP/1.1~{H}~", (Accept("GET", "/a/b%20c;d=1", query="e=f?g"),)),
    Case("an empty query", f"GET /a? HTTP/1.1~{H}~", (Accept("GET", "/a"),)),
    Case("slashes are kept", f"GET ///a//b/ HTTP/1.1~{H}~", (Accept("GET", "///a//b/"),)),
    Case("two slashes are no authority", f"GET //b/c HTTP/1.1~{H}~", (Accept("GET", "//b/c"),)),
    Case("dots are left alone", f"GET /../a/./b HTTP/1.1~{H}~", (Accept("GET", "/../a/./b"),)),
    Case("a colon in the path", f"GET /a:b@c HTTP/1.1~{H}~", (Accept("GET", "/a:b@c"),)),
    Case(
        "what browsers do not escape",
        f'GET /a?b="<>\\^`{{|}} HTTP/1.1~{H}~',
        (Accept("GET", "/a", query='b="<>\\^`{|}'),),
    ),
    Case("any token is a method", f"!#$%&'*+-.^_`|0aZ / HTTP/1.1~{H}~", (Accept("!#$%&'*+-.^_`|0aZ", "/"),)),
    Case("methods have a case", f"get / HTTP/1.1~{H}~", (Accept("get", "/"),)),
    Case("asterisk-form", f"OPTIONS * HTTP/1.1~{H}~", (Accept("OPTIONS", "*"),)),
    Case(
        "absolute-form replaces Host",
        "GET http://b:81/c?d HTTP/1.1~Host: a~X: y~~",
        (Accept("GET", "/c", query="d", fields=(("host", "b:81"), ("x", "y"))),),
    ),
    Case("absolute-form in capitals", f"GET HTTP://b/ HTTP/1.1~{H}~", (Accept("GET", "/", fields=(("host", "b"),)),)),
    Case("absolute-form, https", f"GET https://b/c HTTP/1.1~{H}~", (Accept("GET", "/c", fields=(("host", "b"),)),)),
    Case("absolute-form without a path", f"GET http://b HTTP/1.1~{H}~", (Accept("GET", "/"),)),
    Case("absolute-form with a query only", f"GET http://b?c HTTP/1.1~{H}~", (Accept("GET", "/", query="c"),)),
    Case("absolute-form of the whole server", f"OPTIONS http://b HTTP/1.1~{H}~", (Accept("OPTIONS", "*"),)),
    Case(
        "absolute-form, IPv6",
        f"GET http://[::1]:80/c HTTP/1.1~{H}~",
        (Accept("GET", "/c", fields=(("host", "[::1]:80"),)),),
    ),
    Case("absolute-form does not stand in for Host", "GET http://b/ HTTP/1.1~~", (Refuse(400),)),
    Case(
        "absolute-form in HTTP/1.0",
        "GET http://b/ HTTP/1.0~~",
        (Accept("GET", "/", fields=(("host", "b"),), keep_alive=False),),
    ),
    Case("blank lines before a request", f"~~GET / HTTP/1.1~{H}~~~{NEXT_RAW}", (GET, NEXT)),
    Case("blank lines alone", "~~~", ()),
    Case("blank lines without end", "~" * 9, (Refuse(400),)),
    Case("a request line without its end", "GET / HTTP/1.1", (WAIT,)),
    Case("a CR that waits for its LF", "GET / HTTP/1.1\r", (WAIT,)),
    Case("a method without its end", "GET", (WAIT,)),
]

HEADER_LINES = [
    Case("no colon", f"GET / HTTP/1.1~{H}X~~", (Refuse(400),)),
    *refused(
        "header line",
        400,
        *get_with(
            "X : y",
            "X\t: y",
            " X: y",
            "X y: z",
            ": y",
            "X",
            "X=y",
            "X\x00: y",
            "X: y\x00z",
            "X: y\rz",
            "X: y\r",
            "X: y\nZ: 1",
            "X: y\n",
            "\nX: y",
            "\rX: y",
            "X\r: y",
            "X\n: y",
            "X: y~ folded",
            "X: y~\tfolded",
            "X:~ y",
            "X: y~ ",
            "(X): y",
            "X@: y",
            "X{: y",
            'X": y',
            "X/: y",
            "X\xe9: y",
            "\xa0X: y",
            "X\x7f: y",
            "X\x01: y",
        ),
    ),
    Case("the first line is folded", f"GET / HTTP/1.1~ X: y~{H}~", (Refuse(400),)),
    Case("bare LF everywhere", "GET / HTTP/1.1\nHost: a\n\n", (Refuse(400),)),
    Case("bare LF ends the head", "GET / HTTP/1.1~Host: a\n\n", (Refuse(400),)),
    Case("a blank line of LF", "GET / HTTP/1.1~Host: a~\n", (Refuse(400),)),
    Case("a head without its blank line", f"GET / HTTP/1.1~{H}", (WAIT,)),
    Case("a head before its last LF", f"GET / HTTP/1.1~{H}\r", (WAIT,)),
    Case(
        "whitespace around values, whatever is in them",
        "GET / HTTP/1.1~Host:a~X: \t y \t z \t~Empty:~Blank: \t ~Text: \xfc\xff\x80~aB-C:d: e~~",
        (
            Accept(
                "GET",
                "/",
                fields=(
                    ("host", "a"),
                    ("x", "y \t z"),
                    ("empty", ""),
                    ("blank", ""),
                    ("text", "\xfc\xff\x80"),
                    ("ab-c", "d: e"),
                ),
            ),
        ),
    ),
    Case(
        "names that are any token, and repeated ones",
        "GET / HTTP/1.1~Host: a~!#$%&'*+-.^_`|0: 1~X: 1~X: 2~~",
        (Accept("GET", "/", fields=(("host", "a"), ("!#$%&'*+-.^_`|0", "1"), ("x", "1"), ("x", "2"))),),
    ),
    Case(
        "a stray control character is kept",
        f"GET / HTTP/1.1~{H}Cookie: a=\x01b~~",
        (Accept("GET", "/", fields=(("host", "a"), ("cookie", "a=\x01b"))),),
    ),
    *refused(
        "control characters where they act",
        400,
        *get_with("Connection: close\x01", "Upgrade: a\x01", "TE: \x7f", "Expect: \x01"),
    ),
]

HOSTS = [
    *refused(
        "Host",
        400,
        "GET / HTTP/1.1~~",
        "GET / HTTP/1.1~X: y~~",
        "GET / HTTP/1.1~Host: a~Host: a~~",
        "GET / HTTP/1.1~Host: a~X: y~host: b~~",
        "GET / HTTP/1.0~Host: a~Host: b~~",
        "GET / HTTP/1.1~Host: a b~~",
        "GET / HTTP/1.1~Host: a,b~Host: c~~",
        "GET / HTTP/1.1~Host: a/b~~",
        "GET / HTTP/1.1~Host: a?b~~",
        "GET / HTTP/1.1~Host: a#b~~",
        "GET / HTTP/1.1~Host: u@a~~",
        "GET / HTTP/1.1~Host: http://a~~",
        "GET / HTTP/1.1~Host: a:b~~",
        "GET / HTTP/1.1~Host: a:80:80~~",
        "GET / HTTP/1.1~Host: a:-1~~",
        "GET / HTTP/1.1~Host: :80~~",
        "GET / HTTP/1.1~Host: [::1~~",
        "GET / HTTP/1.1~Host: ::1~~",
        "GET / HTTP/1.1~Host: [::g]~~",
        "GET / HTTP/1.1~Host: [1:2]~~",
        "GET / HTTP/1.1~Host: [::1]a~~",
        "GET / HTTP/1.1~Host: [fe80::1%25eth0]~~",
        "GET / HTTP/1.1~Host: a%zz~~",
        "GET / HTTP/1.1~Host: a%2~~",
        "GET / HTTP/1.1~Host: caf\xe9~~",
        "GET / HTTP/1.1~Host: a\\b~~",
        'GET / HTTP/1.1~Host: "a"~~',
        "GET / HTTP/1.0~Host: a b~~",
    ),
    *[
        Case(f"Host: {host}", f"GET / HTTP/1.1~Host: {host}~~", (Accept("GET", "/", fields=(("host", host),)),))
        for host in (
            "a",
            "a.b.c:8000",
            "127.0.0.1:80",
            "[::1]",
            "[2001:db8::ffff:192.0.2.1]:443",
            "[v1.a:b]",
            "a:",
            "a_b-c.d.e!$&'()*+,;=f%20",
            "",
        )
    ],
    Case("no Host in HTTP/1.0", "GET / HTTP/1.0~~", (Accept("GET", "/", keep_alive=False),)),
]

CONNECTIONS = [
    *[
        Case(
            f"{version}, {option}",
            f"GET / HTTP/{version}~{H}{option}~~{NEXT_RAW}",
            (Accept("GET", "/", keep_alive=keep), *after),
        )
        for version, option, keep, after in (
            ("1.1", "X: y", True, (NEXT,)),
            ("1.1", "Connection: keep-alive", True, (NEXT,)),
            ("1.1", "Connection: close", False, ()),
            ("1.1", "Connection: Close", False, ()),
            ("1.1", "Connection: \tclose\t", False, ()),
            ("1.1", "Connection: x, close ,y", False, ()),
            ("1.1", "Connection: keep-alive, close", False, ()),
            ("1.1", "Connection: x~Connection: close", False, ()),
            ("1.1", "Connection: closed, xclose, clo se", True, (NEXT,)),
            ("1.1", "Connection:", True, (NEXT,)),
            ("1.1", "Connection: , ,", True, (NEXT,)),
            ("1.0", "X: y", False, ()),
            ("1.0", "Connection: Keep-Alive", True, (NEXT,)),
            ("1.0", "Connection: x, keep-alive", True, (NEXT,)),
            ("1.0", "Connection: keep-alive, close", False, ()),
            ("1.2", "X: y", True, (NEXT,)),
        )
    ],
    Case(
        "the end of a last request's body",
        f"PUT / HTTP/1.1~{H}Connection: close~Content-Length: 1~~x{NEXT_RAW}",
        (Accept("PUT", "/", b"x", keep_alive=False),),
    ),
]

LENGTHS = [
    Case(
        "a body, then a request",
        f"POST / HTTP/1.1~{H}Content-Length: 5~~hello{NEXT_RAW}",
        (Accept("POST", "/", b"hello"), NEXT),
    ),
    Case(
        "a body that looks like a request",
        f"POST / HTTP/1.1~{H}Content-Length: {len(NEXT_RAW) + NEXT_RAW.count('~')}~~{NEXT_RAW}",
        (Accept("POST", "/", NEXT_RAW.replace("~", "\r\n").encode()),),
    ),
    Case("a body after GET", f"GET / HTTP/1.1~{H}Content-Length: 2~~hi{NEXT_RAW}", (Accept("GET", "/", b"hi"), NEXT)),
    Case("no body", f"POST / HTTP/1.1~{H}~{NEXT_RAW}", (Accept("POST", "/"), NEXT)),
    Case("an empty body", f"POST / HTTP/1.1~{H}Content-Length: 0~~{NEXT_RAW}", (Accept("POST", "/"), NEXT)),
    Case("leading zeros", f"POST / HTTP/1.1~{H}Content-Length: 0002~~hi{NEXT_RAW}", (Accept("POST", "/", b"hi"), NEXT)),
    Case(
        "a body in HTTP/1.0",
        f"POST / HTTP/1.0~Content-Length: 2~~hi{NEXT_RAW}",
        (Accept("POST", "/", b"hi", keep_alive=False),),
    ),
    Case(
        "an underscore makes another name",
        f"POST / HTTP/1.1~{H}Content_Length: 5~~{NEXT_RAW}",
        (Accept("POST", "/"), NEXT),
    ),
    *refused(
        "Content-Length",
        400,
        *post_with(
            "Content-Length: -5",
            "Content-Length: +5",
            "Content-Length: 5.0",
            "Content-Length: 0x5",
            "Content-Length: 5e0",
            "Content-Length: 1_0",
            "Content-Length: 5 5",
            "Content-Length: 5, 5",
            "Content-Length: 5, 6",
            "Content-Length: 5,",
            "Content-Length: ,5",
            "Content-Length: ,",
            "Content-Length:",
            "Content-Length: five",
            "Content-Length: 5\xa0",
            "Content-Length: \xb2",
            "Content-Length: 5\x01",
            "Content-Length: 5\x0b",
            "Content-Length: 5;",
            'Content-Length: "5"',
            "Content-Length: 5~Content-Length: 5",
            "Content-Length: 5~content-length: 6",
            "Content-Length: 5~X: y~Content-Length:",
            "Content-Length : 5",
            "Content-Length:~ 5",
            "Content-Length: 1~ 0",
        ),
    ),
    *refused(
        "a length that no body has",
        413,
        *post_with("Content-Length: 18446744073709551616", f"Content-Length: {'9' * 400}"),
    ),
]

CODINGS = [
    *refused(
        "Transfer-Encoding",
        400,
        *post_with(
            "Transfer-Encoding: chunked~Content-Length: 5",
            "Content-Length: 5~Transfer-Encoding: chunked",
            "Content-Length: 0~Transfer-Encoding: chunked",
            "Content-Length: x~Transfer-Encoding: chunked",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: gzip",
            "Transfer-Encoding: chunked, gzip",
            "Transfer-Encoding: chunked~Transfer-Encoding: gzip",
            "Transfer-Encoding: chunked~Transfer-Encoding: identity",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: chunked~Transfer-Encoding: chunked",
            "Transfer-Encoding: gzip, chunked, chunked",
            "Transfer-Encoding: chunkedchunked",
            "Transfer-Encoding: chun ked",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunked;q=1",
            'Transfer-Encoding: "chunked"',
            "Transfer-Encoding: 'chunked'",
            "Transfer-Encoding: chunked,",
            "Transfer-Encoding: chunked~Transfer-Encoding:",
            "Transfer-Encoding:",
            "Transfer-Encoding: ,",
            "Transfer-Encoding: \x0bchunked",
            "Transfer-Encoding: chunked\x01",
            "Transfer-Encoding: chunked\xa0",
            "Transfer-Encoding: \x00chunked",
            "Transfer-Encoding : chunked",
            "Transfer-Encoding:~ chunked",
            "Transfer-Encoding: chunked~ x",
            " Transfer-Encoding: chunked",
            "X: y\nTransfer-Encoding: chunked",
            "X: y\rTransfer-Encoding: chunked",
        ),
    ),
    *refused(
        "a coding that is not known",
        501,
        *post_with(
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: gzip~Transfer-Encoding: chunked",
            "Transfer-Encoding: identity, chunked",
            "Transfer-Encoding: , chunked",
        ),
    ),
    Case("Transfer-Encoding in HTTP/1.0", f"POST / HTTP/1.0~{H}Transfer-Encoding: chunked~~0~~", (Refuse(400),)),
    Case(
        "Transfer-Encoding in HTTP/1.0, kept alive",
        f"POST / HTTP/1.0~{H}Connection: keep-alive~Transfer-Encoding: chunked~~0~~",
        (Refuse(400),),
    ),
    Case(
        "Transfer-Encoding in capitals",
        f"POST / HTTP/1.1~{H}TRANSFER-ENCODING: \tChunked ~~1~x~0~~{NEXT_RAW}",
        (Accept("POST", "/", b"x"), NEXT),
    ),
    Case(
        "an underscore makes another name",
        f"POST / HTTP/1.1~{H}Transfer_Encoding: chunked~~{NEXT_RAW}",
        (Accept("POST", "/"), NEXT),
    ),
    Case("TE is no framing", f"POST / HTTP/1.1~{H}TE: trailers, chunked~~{NEXT_RAW}", (Accept("POST", "/"), NEXT)),
    *[
        Case(f"chunks {text!r}", chunks(text + NEXT_RAW)[0], (Accept("POST", "/", body), NEXT))
        for text, body in (
            ("0~~", b""),
            ("5~hello~0~~", b"hello"),
            ("5~hello~6~ world~000~~", b"hello world"),
            ("A~0123456789~a~0123456789~0~~", b"0123456789" * 2),
            ("0000000000000005~hello~0~~", b"hello"),
            ("5;a~hello~0;b=c~~", b"hello"),
            ('5;a="b c;\\"\\\\";d=e~hello~0~~', b"hello"),
            ("5 ; a = b~hello~0~~", b"hello"),
            ("5;a;b;c~hello~0~~", b"hello"),
            ("4~\r\n\r\n~0~~", b"\r\n\r\n"),
            ("0~X: y~~", b""),
            ("5~hello~0~Content-Length: 99~Transfer-Encoding: gzip~Host: evil~~", b"hello"),
        )
    ],
    *refused(
        "chunk size",
        400,
        *chunks(
            "~",
            "~5~hello~0~~",
            "g~",
            " 5~",
            "-5~",
            "+5~",
            "0x5~",
            "5_0~",
            "5 5~",
            "5 ~hello~0~~",
            "5\t~",
            "5;~",
            "5;=b~",
            "5;a=~",
            "5;a=b c~",
            '5;a="b~',
            '5;a="b"c~',
            "5,a~",
            "5;a\x00~",
            "5;a\rb~",
            "5\rhello",
            "5\nhello",
            "5;a\nhello",
            "5\r\r\nhello",
            "\n5~",
            "5\xa0~",
            "\xb2~",
            "00000000000000005~hello~0~~",
            "10000000000000000~",
            "FFFFFFFFFFFFFFFFF",
            ";a~hello~0~~",
            "5;" + "a" * 2000,
        ),
    ),
    *[
        Case(f"chunk data: {text!r}", chunks(text)[0], (Refuse(400),))
        for text in (
            "5~hello0~~",
            "5~hello\n0~~",
            "5~hello\r0~~",
            "5~hellohello~0~~",
            "3~foo~~",
            "5~ABCDE0~",
            "5~hell~0~~~",
        )
    ],
    *[
        Case(f"trailer: {text!r}", chunks(text)[0], (Refuse(400),))
        for text in (
            "0~X~~",
            "0~X : y~~",
            "0~ X: y~~",
            "0~X: y~ z~~",
            "0~X: y\nZ: a~~",
            "0~X: \x00~~",
            "0~X: \x01~~",
            "0~\rX",
            "0~\n",
            "0~: y~~",
            "0~X: y~GET /next HTTP/1.1~Host: a~~",
        )
    ],
    *[
        Case(f"incomplete chunks: {text!r}", chunks(text)[0], (WAIT,))
        for text in (
            "",
            "5",
            "5;a",
            "5\r",
            "5~hell",
            "5~hello",
            "5~hello\r",
            "5~hello~",
            "5~hello~0",
            "5~hello~0~",
            "5~hello~0~\r",
            "5~hello~0~X: y~",
            "0000000001FFFFFF~x",
        )
    ],
]

EXPECTATIONS = [
    Case("100-continue", f"PUT / HTTP/1.1~{H}Expect: 100-Continue~Content-Length: 1~~x", (Accept("PUT", "/", b"x"),)),
    Case("an empty expectation", f"PUT / HTTP/1.1~{H}Expect:~~", (Accept("PUT", "/"),)),
    *refused(
        "expectation",
        417,
        *post_with(
            "Expect: 200-ok", "Expect: 100-continue, x", "Expect: 100-continue=1", "Expect: x~Expect: 100-continue"
        ),
    ),
]

ALL = [*REQUEST_LINES, *HEADER_LINES, *HOSTS, *CONNECTIONS, *LENGTHS, *CODINGS, *EXPECTATIONS]
