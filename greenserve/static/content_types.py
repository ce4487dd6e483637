"""Content types by a file name's ending. The table decides, and not a machine's /etc/mime.types: a file has the same
type wherever it is served.
"""

from __future__ import annotations

import mimetypes

# The endings that pages on the web consist of. Browsers run no script and use no style sheet of another type.
_TYPES = {
    "aac": "audio/aac",
    "apng": "image/apng",
    "atom": "application/atom+xml",
    "avif": "image/avif",
    "css": "text/css",
    "csv": "text/csv",
    "eot": "application/vnd.ms-fontobject",
    "flac": "audio/flac",
    "geojson": "application/geo+json",
    "gif": "image/gif",
    "glb": "model/gltf-binary",
    "gltf": "model/gltf+json",
    "gz": "application/gzip",
    "htm": "text/html",
    "html": "text/html",
    "ico": "image/vnd.microsoft.icon",
    "ics": "text/calendar",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "js": "text/javascript",
    "json": "application/json",
    "jsonld": "application/ld+json",
    "jxl": "image/jxl",
    "m4a": "audio/mp4",
    "m4v": "video/mp4",
    "map": "application/json",
    "md": "text/markdown",
    "mjs": "text/javascript",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "mpeg": "video/mpeg",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "ogv": "video/ogg",
    "opus": "audio/ogg",
    "otf": "font/otf",
    "pdf": "application/pdf",
    "png": "image/png",
    "rss": "application/rss+xml",
    "svg": "image/svg+xml",
    "ttf": "font/ttf",
    "txt": "text/plain",
    "vtt": "text/vtt",
    "wasm": "application/wasm",
    "wav": "audio/wav",
    "weba": "audio/webm",
    "webm": "video/webm",
    "webmanifest": "application/manifest+json",
    "webp": "image/webp",
    "woff": "font/woff",
    "woff2": "font/woff2",
    "xhtml": "application/xhtml+xml",
    "xml": "application/xml",
    "yaml": "application/yaml",
    "yml": "application/yaml",
    "zip": "application/zip",
    "zst": "application/zstd",
}
UNKNOWN = "application/octet-stream"

_OTHERS = mimetypes.MimeTypes()  # Python's own table, without the machine's

# Compressed already: no sibling is looked for.
_COMPRESSED = frozenset(("application/gzip", "application/zip", "application/zstd", "font/woff", "font/woff2"))
_COMPRESSED_KINDS = ("image/", "audio/", "video/")
_NOT_COMPRESSED = frozenset(("image/svg+xml", "image/vnd.microsoft.icon", "image/bmp"))


def content_type(name: str) -> str:
    """The type of the file of that name, with the charset for text, which is taken to be UTF-8."""
    ending = name[name.rfind(".") + 1 or len(name) :].lower()
    found = _TYPES.get(ending) or _OTHERS.types_map[True].get("." + ending, UNKNOWN)
    return f"{found}; charset=utf-8" if found.startswith("text/") else found


def may_have_siblings(kind: str) -> bool:
    """Whether compressing a file of the type again could make it smaller."""
    return kind in _NOT_COMPRESSED or not (kind in _COMPRESSED or kind.startswith(_COMPRESSED_KINDS))
