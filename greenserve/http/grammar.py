"""RFC 9110 and RFC 9112 as compiled patterns, each beside its ABNF.

No code here, only grammar. Patterns on `str` read text decoded as latin-1 (RFC 9110 §5.5), patterns on `bytes` read
the wire. Quantifiers are possessive (`++`, `*+`) wherever giving back could never help: no input makes them backtrack.
"""

from __future__ import annotations

import re

# token = 1*tchar                                                                              RFC 9110 §5.6.2
# tchar = "!" / "#" / "$" / "%" / "&" / "'" / "*" / "+" / "-" / "." / "^" / "_" / "`" / "|" / "~" / DIGIT / ALPHA
_TCHAR = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_TOKEN = rf"{_TCHAR}++"

# OWS = BWS = *( SP / HTAB )                                                                   RFC 9110 §5.6.3
_OWS = r"[ \t]*+"

# field-value = *field-content, here with OWS on both sides                                    RFC 9110 §5.5
# field-vchar = VCHAR / obs-text
_FIELD_VALUE = r"[\t\x20-\x7e\x80-\xff]*+"

# A recipient may keep other control characters (RFC 9110 §5.5); CR, LF and NUL are never allowed.
_FIELD_VALUE_WITH_CONTROLS = r"[^\x00\r\n]*+"

# request-target: any VCHAR but "#". RFC 3986 forbids `"<>\^`{|}` as well, but browsers send them unescaped in
# queries. A "#" would be a fragment, which never leaves a client; intermediaries disagree on what it hides.
_TARGET = r"[!-\"$-~]++"
_PATH = r"/[!-\"$->@-~]*+"  # the same without "?"
_QUERY = r"[!-\"$-~]*+"

# request-line = method SP request-target SP HTTP-version                                      RFC 9112 §3
# HTTP-version = "HTTP/" DIGIT "." DIGIT                                                       RFC 9112 §2.3
# The plain one: origin-form, no CONNECT, a common version. Groups: method, target, path, query, minor.
PLAIN_REQUEST_LINE = re.compile(rf"(?!CONNECT )({_TOKEN}) (({_PATH})(?:\?({_QUERY}))?) HTTP/1\.([01])\r\n")
# Any. Groups: method, target, major, minor.
REQUEST_LINE = re.compile(rf"({_TOKEN}) ({_TARGET}) HTTP/([0-9])\.([0-9])\r\n")
# What can still become one. Groups: method, target.
REQUEST_LINE_BEGUN = re.compile(
    rf"({_TOKEN})(?: (?:({_TARGET})(?: (?:H(?:T(?:T(?:P(?:/(?:[0-9](?:\.(?:[0-9]\r?)?)?)?)?)?)?)?)?)?)?)?".encode()
)

METHOD = re.compile(_TOKEN)
TARGET = re.compile(_TARGET)

# field-line = field-name ":" OWS field-value OWS, each with its CRLF                          RFC 9112 §5
# field-name = token: no whitespace before the colon (RFC 9112 §5.1); obs-fold (§5.2) does not match.
PLAIN_FIELD_LINES = re.compile(rf"(?:{_TOKEN}:{_FIELD_VALUE}\r\n)*+".encode("latin-1"))
FIELD_LINES = re.compile(rf"(?:{_TOKEN}:{_FIELD_VALUE_WITH_CONTROLS}\r\n)*+".encode("latin-1"))
# What can still become such lines and the blank line after them.
FIELD_LINES_BEGUN = re.compile(
    rf"(?:{_TOKEN}:{_FIELD_VALUE}\r\n)*+(?:\r|{_TOKEN}(?::{_FIELD_VALUE}\r?)?)?".encode("latin-1")
)

# What no line of a head may hold: NUL, a CR without LF, a LF without CR (RFC 9112 §2.2, RFC 9110 §5.5). Each of the
# three begins with its character, so that `search` skips all others quickly.
BROKEN_LINE = re.compile(rb"\x00|\r(?=[^\n])|\n(?<!\r\n)")
# What no request line may hold, wherever it stands.
NOT_IN_REQUEST_LINE = re.compile(rb"[^\x20-\x7e\r]|\r(?=[^\n])")

# field-name, field-value and reason-phrase of a response                                      RFC 9110 §5, RFC 9112 §4
FIELD_NAME = METHOD
FIELD_VALUE = re.compile(_FIELD_VALUE)
# "999 Message here" (PEP 3333); the reason may be empty. Group: the status code.
STATUS = re.compile(r"([1-9][0-9]{2}) (?:[!-~\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[!-~\x80-\xff])?)?")

# CTL: what a value that the server acts on may not hold                                      RFC 5234 B.1
CONTROLS = re.compile(r"[\x00-\x1f\x7f]")

# Content-Length = 1*DIGIT                                                                     RFC 9110 §8.6
DIGITS = re.compile(r"[0-9]++")

# Host = uri-host [ ":" port ]                                                                 RFC 9110 §7.2
# uri-host = IP-literal / IPv4address / reg-name; port = *DIGIT                                RFC 3986 §3.2.2, §3.2.3
# reg-name = *( unreserved / pct-encoded / sub-delims )        (an IPv4address is a reg-name too)
# IP-literal = "[" ( IPv6address / IPvFuture ) "]"
# IPvFuture = "v" 1*HEXDIG "." 1*( unreserved / sub-delims / ":" )
# A reg-name of the DNS has at most 255 octets, an IPv6address 45 characters. Group: the IPv6address, which `ipaddress`
# judges.
_REG_NAME = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2}){1,255}+"
_IP_LITERAL = r"\[(?:([0-9A-Fa-f:.]{2,45}+)|[vV][0-9A-Fa-f]++\.[A-Za-z0-9\-._~!$&'()*+,;=:]++)\]"
HOST = re.compile(rf"(?:{_REG_NAME}|{_IP_LITERAL})(?::[0-9]{{0,5}})?")
# The host that nearly all clients send: a name or an IPv4 address.
PLAIN_HOST = re.compile(r"[A-Za-z0-9\-._]{1,255}+(?::[0-9]{0,5})?")

# authority-form = uri-host ":" port                                                           RFC 9112 §3.2.3
# absolute-form = absolute-URI; userinfo ("user@") is refused (RFC 9110 §4.2.4)                RFC 9112 §3.2.2
# Groups: authority, path, query.
ABSOLUTE_TARGET = re.compile(rf"[hH][tT][tT][pP][sS]?://([^/?@]++)({_PATH})?(?:\?({_QUERY}))?")

# chunk-size = 1*HEXDIG, here at most 16: no body comes near 2**64                             RFC 9112 §7.1
# chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )                    RFC 9112 §7.1.1
# chunk-ext-val = token / quoted-string                                                        RFC 9110 §5.6.4
# BWS must be skipped (RFC 9110 §5.6.3); h11 refuses it before the ";". Groups: chunk-size, chunk-ext.
_QUOTED_STRING = r'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*+"'
_CHUNK_EXT = rf"(?:{_OWS};{_OWS}{_TOKEN}(?:{_OWS}={_OWS}(?:{_TOKEN}|{_QUOTED_STRING}))?)*+"
CHUNK_LINE = re.compile(rf"([0-9A-Fa-f]{{1,16}}+)({_CHUNK_EXT})\r\n".encode("latin-1"))
# What can still become one.
CHUNK_LINE_BEGUN = re.compile(rb"[0-9A-Fa-f]{1,16}+(?:[ \t]*+(?:;[\t\x20-\x7e\x80-\xff]*+)?)?\r?")
