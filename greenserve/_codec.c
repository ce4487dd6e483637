/* The compiled codec: what costs most of a request's time in Python, and is nothing but bytes.
 *
 * Strategy. Each function here has a twin in Python, which is the reference: the same arguments give the same result.
 * A function judges only what is plain; for anything else it returns None, and the Python code decides, with its own
 * words for what is wrong. So nothing here has an error message, and nothing here has to be complete.
 *
 * Invariants. No state but constant tables; no call back into Python code, so a green thread never switches while one
 * of these functions is on its stack; no global lock is given up. Each read of a byte is preceded by a comparison with
 * the end of its buffer. Every allocation is checked, and every error path drops what it holds.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

/* -- WebSocket */

/* RFC 6455 section 5.3. Thirty-two bytes at a time, by memcpy: neither alignment nor byte order matters, and compilers
   make vectors of it, also at -O2. `to` and `from` do not overlap. */
static void
mask_into(unsigned char *restrict to, const unsigned char *restrict from, Py_ssize_t size, const unsigned char *key)
{
    uint64_t twice, block[4];
    Py_ssize_t at = 0;

    memcpy(&twice, key, 4);
    memcpy((unsigned char *)&twice + 4, key, 4);
    for (; size - at >= 32; at += 32) {
        memcpy(block, from + at, 32);
        block[0] ^= twice;
        block[1] ^= twice;
        block[2] ^= twice;
        block[3] ^= twice;
        memcpy(to + at, block, 32);
    }
    for (; at < size; at++)
        to[at] = (unsigned char)(from[at] ^ key[at & 3]);
}

static PyObject *
apply_mask(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    Py_buffer data;
    PyObject *masked;

    if (count != 2 || !PyBytes_Check(args[1]) || PyBytes_GET_SIZE(args[1]) != 4) {
        PyErr_SetString(PyExc_TypeError, "apply_mask takes what is to be masked, and a key of four bytes");
        return NULL;
    }
    if (PyObject_GetBuffer(args[0], &data, PyBUF_SIMPLE) < 0)
        return NULL;
    masked = PyBytes_FromStringAndSize(NULL, data.len);
    if (masked != NULL)
        mask_into((unsigned char *)PyBytes_AS_STRING(masked), data.buf, data.len,
                  (const unsigned char *)PyBytes_AS_STRING(args[1]));
    PyBuffer_Release(&data);
    return masked;
}

/* RFC 6455 section 5.2: a final frame of text or binary data, no reserved bit set. */
#define WHOLE_TEXT 0x81
#define WHOLE_BINARY 0x82
#define MASKED 0x80    /* of the second byte */
#define MAX_SHORT 125  /* bytes that need no extended length */
#define LENGTH_16 126
#define MAX_PLAIN 0xFFFF /* bytes that need none of 64 bits */
#define ON_STACK 1024    /* bytes of a text that are unmasked without an allocation */

/* The text of `size` masked bytes, decoded strictly; NULL with an error that may be a UnicodeDecodeError. */
static PyObject *
masked_text(const unsigned char *payload, Py_ssize_t size, const unsigned char *key)
{
    unsigned char stack[ON_STACK];
    unsigned char *plain = size <= ON_STACK ? stack : PyMem_Malloc((size_t)size);
    PyObject *text;

    if (plain == NULL)
        return PyErr_NoMemory();
    mask_into(plain, payload, size, key);
    text = PyUnicode_DecodeUTF8((const char *)plain, size, NULL);
    if (plain != stack)
        PyMem_Free(plain);
    return text;
}

static PyObject *
masked_bytes(const unsigned char *payload, Py_ssize_t size, const unsigned char *key)
{
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, size);

    if (bytes != NULL)
        mask_into((unsigned char *)PyBytes_AS_STRING(bytes), payload, size, key);
    return bytes;
}

static PyObject *
plain_message(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    const unsigned char *buffer, *key = NULL;
    Py_ssize_t size, at, limit, length;
    int masked, text;
    PyObject *message, *end, *found;

    if (count != 4 || !PyBytes_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "plain_message takes bytes, a start, whether they are masked, and a limit");
        return NULL;
    }
    buffer = (const unsigned char *)PyBytes_AS_STRING(args[0]);
    size = PyBytes_GET_SIZE(args[0]);
    at = PyLong_AsSsize_t(args[1]);
    if (at == -1 && PyErr_Occurred())
        return NULL;
    limit = PyLong_AsSsize_t(args[3]);
    if (limit == -1 && PyErr_Occurred())
        return NULL;
    masked = args[2] == Py_True;
    if (at < 0 || at > size || size - at < 2 || (buffer[at] != WHOLE_TEXT && buffer[at] != WHOLE_BINARY))
        Py_RETURN_NONE;
    text = buffer[at] == WHOLE_TEXT;
    if (masked != buffer[at + 1] >> 7)
        Py_RETURN_NONE;
    length = buffer[at + 1] & 0x7F;
    at += 2;
    if (length == LENGTH_16) {
        if (size - at < 2)
            Py_RETURN_NONE;
        length = buffer[at] << 8 | buffer[at + 1];
        at += 2;
        if (length <= MAX_SHORT) /* not in the fewest bytes */
            Py_RETURN_NONE;
    }
    else if (length > MAX_SHORT)
        Py_RETURN_NONE;
    if (masked) {
        if (size - at < 4)
            Py_RETURN_NONE;
        key = buffer + at;
        at += 4;
    }
    if (size - at < length || length > limit)
        Py_RETURN_NONE;

    if (text)
        message = masked ? masked_text(buffer + at, length, key)
                         : PyUnicode_DecodeUTF8((const char *)buffer + at, length, NULL);
    else
        message = masked ? masked_bytes(buffer + at, length, key)
                         : PyBytes_FromStringAndSize((const char *)buffer + at, length);
    if (message == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_UnicodeDecodeError))
            return NULL;
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    end = PyLong_FromSsize_t(at + length);
    found = end == NULL ? NULL : PyTuple_Pack(2, message, end);
    Py_XDECREF(end);
    Py_DECREF(message);
    return found;
}

/* A frame of `size` bytes, at most MAX_PLAIN. key: four bytes, or NULL. */
static PyObject *
framed(int first, const char *payload, Py_ssize_t size, const char *key)
{
    Py_ssize_t head = (size <= MAX_SHORT ? 2 : 4) + (key == NULL ? 0 : 4);
    int flag = key == NULL ? 0 : MASKED;
    PyObject *frame = PyBytes_FromStringAndSize(NULL, head + size);
    unsigned char *to;

    if (frame == NULL)
        return NULL;
    to = (unsigned char *)PyBytes_AS_STRING(frame);
    *to++ = (unsigned char)first;
    if (size <= MAX_SHORT)
        *to++ = (unsigned char)(flag | (int)size);
    else {
        *to++ = (unsigned char)(flag | LENGTH_16);
        *to++ = (unsigned char)(size >> 8);
        *to++ = (unsigned char)(size & 0xFF);
    }
    if (key == NULL)
        memcpy(to, payload, (size_t)size);
    else {
        memcpy(to, key, 4);
        mask_into(to + 4, (const unsigned char *)payload, size, (const unsigned char *)key);
    }
    return frame;
}

static PyObject *
plain_frame(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    PyObject *message, *encoded, *frame;
    Py_ssize_t size;
    const char *utf8, *key;

    if (count != 2 || !PyBytes_Check(args[1]) || (PyBytes_GET_SIZE(args[1]) != 0 && PyBytes_GET_SIZE(args[1]) != 4)) {
        PyErr_SetString(PyExc_TypeError, "plain_frame takes a message, and a key of four bytes or none");
        return NULL;
    }
    message = args[0];
    key = PyBytes_GET_SIZE(args[1]) == 0 ? NULL : PyBytes_AS_STRING(args[1]);
    if (PyBytes_CheckExact(message)) {
        if (PyBytes_GET_SIZE(message) > MAX_PLAIN)
            Py_RETURN_NONE;
        return framed(WHOLE_BINARY, PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message), key);
    }
    if (!PyUnicode_CheckExact(message) || PyUnicode_GET_LENGTH(message) > MAX_PLAIN)
        Py_RETURN_NONE;
    if (PyUnicode_IS_COMPACT_ASCII(message)) {
        utf8 = PyUnicode_AsUTF8AndSize(message, &size);
        return utf8 == NULL ? NULL : framed(WHOLE_TEXT, utf8, size, key);
    }
    /* For any other text that call would keep the encoded bytes as long as the text lives. */
    encoded = PyUnicode_AsUTF8String(message);
    if (encoded == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError))
            return NULL;
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    size = PyBytes_GET_SIZE(encoded);
    if (size > MAX_PLAIN) {
        Py_DECREF(encoded);
        Py_RETURN_NONE;
    }
    frame = framed(WHOLE_TEXT, PyBytes_AS_STRING(encoded), size, key);
    Py_DECREF(encoded);
    return frame;
}

/* -- response head */

/* An ASCII text; it lives as long as the str whose it is. */
typedef struct {
    const unsigned char *data;
    Py_ssize_t size;
} text;

/* Returns 0 for what is not an ASCII str, and for a subclass, which may have another idea of what its text is. */
static int
as_ascii(PyObject *object, text *into)
{
    if (!PyUnicode_CheckExact(object))
        return 0;
#if PY_VERSION_HEX < 0x030C0000
    if (PyUnicode_READY(object) < 0) {
        PyErr_Clear();
        return 0;
    }
#endif
    if (!PyUnicode_IS_ASCII(object))
        return 0;
    into->data = PyUnicode_1BYTE_DATA(object);
    into->size = PyUnicode_GET_LENGTH(object);
    return 1;
}

/* Whether there is no control character. No branch for each of them, so that compilers can make vectors of it. */
static int
is_printable(text value)
{
    unsigned char found = 0;
    Py_ssize_t i;

    for (i = 0; i < value.size; i++)
        found |= (unsigned char)((value.data[i] < 0x20) | (value.data[i] == 0x7f));
    return !found;
}

/* tchar of RFC 9110 section 5.6.2. */
static const unsigned char token_chars[128] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 1, 0, 1, 1, 1, 1, 1, 0, 0, 1, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0,
    0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0, 1, 0,
};

static int
is_token(text name)
{
    unsigned char all = 1;
    Py_ssize_t i;

    for (i = 0; i < name.size; i++)
        all &= token_chars[name.data[i] & 0x7f];
    return all && name.size > 0;
}

/* The first two are the bits of CheckedHeaders, too. */
enum kind { SERVER = 1, DATE = 2, LENGTH = 3, ORDINARY = 4, NOT_PLAIN = 5 };

static const struct {
    const char *name;
    Py_ssize_t size;
    enum kind kind;
} special_names[] = {
    {"te", 2, NOT_PLAIN},
    {"date", 4, DATE},
    {"server", 6, SERVER},
    {"trailer", 7, NOT_PLAIN},
    {"upgrade", 7, NOT_PLAIN},
    {"trailers", 8, NOT_PLAIN},
    {"connection", 10, NOT_PLAIN},
    {"keep-alive", 10, NOT_PLAIN},
    {"content-length", 14, LENGTH},
    {"transfer-encoding", 17, NOT_PLAIN},
    {"proxy-authenticate", 18, NOT_PLAIN},
    {"proxy-authorization", 19, NOT_PLAIN},
};

static enum kind
kind_of(text name)
{
    size_t i;
    Py_ssize_t n;

    if (!is_token(name))
        return NOT_PLAIN;
    for (i = 0; i < sizeof special_names / sizeof *special_names; i++) {
        if (special_names[i].size != name.size)
            continue;
        /* In lower case: of the characters of a token none but a capital letter becomes one of these by `| 0x20`. */
        for (n = 0; n < name.size && (name.data[n] | 0x20) == special_names[i].name[n]; n++)
            ;
        if (n == name.size)
            return special_names[i].kind;
    }
    return ORDINARY;
}

static int
is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

/* The status code of a final response; 0 for anything else (RFC 9112 section 4). */
static int
final_code(text status)
{
    const unsigned char *c = status.data;

    if (status.size < 4 || c[0] < '2' || c[0] > '9' || !is_digit(c[1]) || !is_digit(c[2]) || c[3] != ' ')
        return 0;
    if (status.size > 4 && (c[4] == ' ' || c[status.size - 1] == ' '))
        return 0;
    return is_printable(status) ? (c[0] - '0') * 100 + (c[1] - '0') * 10 + (c[2] - '0') : 0;
}

/* The number that 1 to 18 digits are; -1 for anything else. */
static long long
plain_length(text value)
{
    long long length = 0;
    Py_ssize_t i;

    if (value.size < 1 || value.size > 18)
        return -1;
    for (i = 0; i < value.size; i++) {
        if (!is_digit(value.data[i]))
            return -1;
        length = length * 10 + (value.data[i] - '0');
    }
    return length;
}

struct plain_fields {
    Py_ssize_t size;  /* of the lines in all, each with its CRLF */
    long long length; /* what Content-Length says, -1 where there is none */
    int given;        /* the bits SERVER and DATE */
};

/* Returns 0 unless each item of the tuple is a plain field. */
static int
sum_up(PyObject *items, struct plain_fields *fields)
{
    Py_ssize_t i, room;
    PyObject *pair;
    text name, value;
    enum kind kind;

    for (i = 0; i < PyTuple_GET_SIZE(items); i++) {
        pair = PyTuple_GET_ITEM(items, i);
        if (!PyTuple_CheckExact(pair) || PyTuple_GET_SIZE(pair) != 2 || !as_ascii(PyTuple_GET_ITEM(pair, 0), &name) ||
            !as_ascii(PyTuple_GET_ITEM(pair, 1), &value) || !is_printable(value))
            return 0;
        room = PY_SSIZE_T_MAX / 2 - fields->size; /* one text may stand in many fields: the sum might overflow */
        if (name.size > room || value.size > room - name.size)
            return 0;
        fields->size += name.size + 2 + value.size + 2;
        kind = kind_of(name);
        if (kind == LENGTH && fields->length < 0) {
            fields->length = plain_length(value);
            if (fields->length < 0)
                return 0;
        }
        else if (kind == SERVER || (kind == DATE && !(fields->given & DATE)))
            fields->given |= (int)kind;
        else if (kind != ORDINARY)
            return 0;
    }
    return 1;
}

static char *
put(char *to, const void *from, Py_ssize_t size)
{
    memcpy(to, from, (size_t)size);
    return to + size;
}

/* Put the text of an ASCII str. */
static char *
put_str(char *to, PyObject *object)
{
    return put(to, PyUnicode_1BYTE_DATA(object), PyUnicode_GET_LENGTH(object));
}

/* Status line and field lines, of what was found plain. */
static PyObject *
join_lines(PyObject *status, PyObject *items, Py_ssize_t size)
{
    PyObject *lines = PyBytes_FromStringAndSize(NULL, size);
    PyObject *pair;
    Py_ssize_t i;
    char *end;

    if (lines == NULL)
        return NULL;
    end = put(PyBytes_AS_STRING(lines), "HTTP/1.1 ", 9);
    end = put(put_str(end, status), "\r\n", 2);
    for (i = 0; i < PyTuple_GET_SIZE(items); i++) {
        pair = PyTuple_GET_ITEM(items, i);
        end = put(put_str(end, PyTuple_GET_ITEM(pair, 0)), ": ", 2);
        end = put(put_str(end, PyTuple_GET_ITEM(pair, 1)), "\r\n", 2);
    }
    return lines;
}

static PyObject *
plain_response(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    text status;
    int code, plain;
    struct plain_fields fields;
    PyObject *items, *lines = NULL;

    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "plain_response takes a status and a list of headers");
        return NULL;
    }
    if (!PyList_CheckExact(args[1]) || !as_ascii(args[0], &status) || (code = final_code(status)) == 0)
        Py_RETURN_NONE;
    items = PyList_AsTuple(args[1]); /* another thread could change the list */
    if (items == NULL)
        return NULL;
    fields.size = 9 + status.size + 2;
    fields.length = -1;
    fields.given = 0;
    plain = sum_up(items, &fields) && (code != 204 || fields.length < 0);
    if (plain)
        lines = join_lines(args[0], items, fields.size);
    Py_DECREF(items);
    if (!plain)
        Py_RETURN_NONE;
    if (lines == NULL)
        return NULL;
    if (fields.length < 0)
        return Py_BuildValue("OiNOiO", args[0], code, lines, Py_None, fields.given, Py_None);
    return Py_BuildValue("OiNLiO", args[0], code, lines, fields.length, fields.given, Py_None);
}

/* -- request head: see greenserve/http/plain_head.py */

enum { NAME_LENGTH = 64, HOST_LENGTH = 255, PREFIX = 5 };

/* The fields that are looked at, and others that are common, as the environ calls them without "HTTP_". Any other field
 * is as welcome, but its key is made each time. */
enum { F_HOST, F_CONNECTION, F_CONTENT_LENGTH, F_CONTENT_TYPE, F_EXPECT, F_TRANSFER_ENCODING, F_UPGRADE, F_FORWARDED, F_X_REAL_IP };
static const char *const field_names[] = {
    "HOST", "CONNECTION", "CONTENT_LENGTH", "CONTENT_TYPE", "EXPECT", "TRANSFER_ENCODING", "UPGRADE", "FORWARDED",
    "X_REAL_IP",
    "ACCEPT", "ACCEPT_CHARSET", "ACCEPT_ENCODING", "ACCEPT_LANGUAGE", "ACCESS_CONTROL_REQUEST_HEADERS",
    "ACCESS_CONTROL_REQUEST_METHOD", "API_KEY", "AUTHORIZATION", "BAGGAGE", "CACHE_CONTROL", "CDN_LOOP",
    "CF_CONNECTING_IP", "CF_IPCOUNTRY", "CF_RAY", "CF_VISITOR", "CLIENT_IP", "CONTENT_ENCODING", "CONTENT_LANGUAGE",
    "COOKIE", "DATE", "DNT", "DPR", "EARLY_DATA", "FASTLY_CLIENT_IP", "FROM", "HX_CURRENT_URL", "HX_REQUEST",
    "HX_TARGET", "HX_TRIGGER", "IDEMPOTENCY_KEY", "IF_MATCH", "IF_MODIFIED_SINCE", "IF_NONE_MATCH", "IF_RANGE",
    "IF_UNMODIFIED_SINCE", "KEEP_ALIVE", "LAST_EVENT_ID", "MAX_FORWARDS", "ORIGIN", "PRAGMA", "PREFER", "PRIORITY",
    "PROXY_AUTHORIZATION", "PROXY_CONNECTION", "PURPOSE", "RANGE", "REFERER", "SAVE_DATA", "SEC_CH_UA",
    "SEC_CH_UA_ARCH", "SEC_CH_UA_FULL_VERSION_LIST", "SEC_CH_UA_MOBILE", "SEC_CH_UA_MODEL", "SEC_CH_UA_PLATFORM",
    "SEC_CH_UA_PLATFORM_VERSION", "SEC_FETCH_DEST", "SEC_FETCH_MODE", "SEC_FETCH_SITE", "SEC_FETCH_USER", "SEC_GPC",
    "SEC_PURPOSE", "TE", "TRACEPARENT", "TRACESTATE", "TRAILER", "TRUE_CLIENT_IP", "UPGRADE_INSECURE_REQUESTS",
    "USER_AGENT", "VIA", "X_AMZN_TRACE_ID", "X_API_KEY", "X_APP_VERSION", "X_B3_SAMPLED", "X_B3_SPANID", "X_B3_TRACEID",
    "X_CLIENT_IP", "X_CLOUD_TRACE_CONTEXT", "X_CORRELATION_ID", "X_CSRFTOKEN", "X_CSRF_TOKEN", "X_ENVOY_EXTERNAL_ADDRESS",
    "X_FORWARDED_FOR", "X_FORWARDED_HOST", "X_FORWARDED_PORT", "X_FORWARDED_PREFIX", "X_FORWARDED_PROTO",
    "X_FORWARDED_SCHEME", "X_FORWARDED_SERVER", "X_HTTP_METHOD_OVERRIDE", "X_HUB_SIGNATURE_256", "X_ORIGINAL_URI",
    "X_REQUESTED_WITH", "X_REQUEST_ID", "X_REQUEST_START", "X_SCHEME", "X_TRACE_ID", "X_XSRF_TOKEN",
};
static const char *const method_names[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"};
/* The metavariables that follow from the request line, in the order in which they are set. */
enum { V_METHOD, V_PATH, V_QUERY, V_RAW, V_URI, V_PROTOCOL };
static const char *const line_names[] = {
    "REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "RAW_URI", "REQUEST_URI", "SERVER_PROTOCOL",
};
static const char *const version_names[] = {"1.0", "1.1", "HTTP/1.0", "HTTP/1.1"};

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))
enum { FIELDS = COUNT(field_names), METHODS = COUNT(method_names), LINE_NAMES = COUNT(line_names), SLOTS = 512 };

/* The same as str, and where a field's key is found by the hash of its name. Made once, when the module is. */
typedef struct {
    PyObject *field_keys[FIELDS], *methods[METHODS], *line_keys[LINE_NAMES], *versions[4];
    unsigned char slots[SLOTS]; /* the number of a field, and one; 0: no field */
} Constants;

typedef struct {
    const char *at, *end;
} span;

static Py_ssize_t
length_of(span text)
{
    return text.end - text.at;
}

static int
is_text(span text, const char *known, size_t length)
{
    return (size_t)length_of(text) == length && memcmp(text.at, known, length) == 0;
}

static PyObject *
as_str(span text)
{
    return PyUnicode_DecodeLatin1(text.at, length_of(text), NULL);
}

static unsigned
hash_of(const char *name, size_t length)
{
    unsigned hash = (unsigned)length;
    for (size_t i = 0; i < length; i++)
        hash = hash * 33 ^ (unsigned char)name[i];
    return hash ^ hash >> 9;
}

static int
make_strings(PyObject **made, const char *const *names, int count)
{
    for (int i = 0; i < count; i++)
        if ((made[i] = PyUnicode_InternFromString(names[i])) == NULL)
            return -1;
    return 0;
}

static int
make_constants(PyObject *module)
{
    Constants *constants = PyModule_GetState(module);
    for (int i = 0; i < FIELDS; i++) {
        const char *name = field_names[i];
        int bare = i == F_CONTENT_LENGTH || i == F_CONTENT_TYPE;
        PyObject *key = PyUnicode_FromFormat("%s%s", bare ? "" : "HTTP_", name);
        if (key == NULL)
            return -1;
        PyUnicode_InternInPlace(&key);
        constants->field_keys[i] = key;
        unsigned slot = hash_of(name, strlen(name));
        while (constants->slots[slot % SLOTS])
            slot++;
        constants->slots[slot % SLOTS] = (unsigned char)(i + 1);
    }
    return make_strings(constants->methods, method_names, METHODS)
               || make_strings(constants->line_keys, line_names, LINE_NAMES)
               || make_strings(constants->versions, version_names, COUNT(version_names))
           ? -1
           : 0;
}

static void
drop_constants(void *module)
{
    Constants *constants = PyModule_GetState(module);
    for (int i = 0; constants != NULL && i < FIELDS; i++)
        Py_CLEAR(constants->field_keys[i]);
    for (int i = 0; constants != NULL && i < METHODS; i++)
        Py_CLEAR(constants->methods[i]);
    for (int i = 0; constants != NULL && i < LINE_NAMES; i++)
        Py_CLEAR(constants->line_keys[i]);
    for (int i = 0; constants != NULL && i < COUNT(version_names); i++)
        Py_CLEAR(constants->versions[i]);
}

static int
is_token_char(char c)
{
    return !(c & 0x80) && token_chars[(unsigned char)c];
}

/* Whether all are field-vchar, SP or HTAB (RFC 9110 section 5.5). Eight octets at a time: only their being zero is asked
 * for, so the order of octets in memory does not matter. */
static int
is_field_value(span text)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), high = UINT64_C(0x8080808080808080);
    const char *at = text.at;
    for (; text.end - at >= 8; at += 8) {
        uint64_t word, deleted;
        memcpy(&word, at, 8);
        deleted = word ^ ones * 0x7f;
        if ((((word - ones * 0x20) & ~word) | ((deleted - ones) & ~deleted)) & high)
            break; /* one below SP, or DEL */
    }
    for (; at < text.end; at++)
        if (((unsigned char)*at < 0x20 && *at != '\t') || *at == 0x7f)
            return 0;
    return 1;
}

/* Host, as nearly all clients send it: a name or an IPv4 address, with or without a port. */
static int
is_plain_host(span text)
{
    const char *at = text.at, *colon;
    while (at < text.end && *at != ':') {
        if (!is_token_char(*at) || strchr("!#$%&'*+^`|~", *at) != NULL)
            return 0;
        at++;
    }
    if (at == text.at || at - text.at > HOST_LENGTH)
        return 0;
    for (colon = at++; at < text.end; at++)
        if (*at < '0' || *at > '9')
            return 0;
    return text.end - colon <= 6;
}

/* Whether the text is `lower` but for the case of its letters. */
static int
is_option(span text, const char *lower, size_t length)
{
    if ((size_t)length_of(text) != length)
        return 0;
    for (size_t i = 0; i < length; i++) {
        char c = text.at[i];
        if ((c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c) != lower[i])
            return 0;
    }
    return 1;
}

static int
hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The path without percent-encoding; what is none stays (RFC 3986 section 2.1, as urllib.parse.unquote_to_bytes). */
static PyObject *
decoded(span path)
{
    PyObject *result;
    char *buffer = PyMem_Malloc((size_t)length_of(path)), *to = buffer;
    if (buffer == NULL)
        return PyErr_NoMemory();
    while (path.at < path.end) {
        int high = -1, low = -1;
        if (*path.at == '%' && path.end - path.at >= 3) {
            high = hex_digit(path.at[1]);
            low = hex_digit(path.at[2]);
        }
        *to++ = high >= 0 && low >= 0 ? (char)(high * 16 + low) : *path.at;
        path.at += high >= 0 && low >= 0 ? 3 : 1;
    }
    result = PyUnicode_DecodeLatin1(buffer, to - buffer, NULL);
    PyMem_Free(buffer);
    return result;
}

/* What is known of a head while it is read. Its objects are its own. */
typedef struct {
    const Constants *constants;
    span rest, method, target, path, query;
    PyObject *cgi;
    long long content_length;
    Py_ssize_t fields;
    int minor, host, told, close, keep_alive;
} Head;

/* Reads up to the next CR LF, which it skips: 1, or 0 if there is none. */
static int
read_line(Head *head, span *line)
{
    span *rest = &head->rest;
    const char *cr = rest->at < rest->end ? memchr(rest->at, '\r', (size_t)length_of(*rest)) : NULL;
    if (cr == NULL || rest->end - cr < 2 || cr[1] != '\n')
        return 0;
    line->at = rest->at;
    line->end = cr;
    rest->at = cr + 2;
    return 1;
}

/* method SP origin-form SP "HTTP/1." ( "0" / "1" ): 1 if it is plain, else 0. */
static int
read_request_line(Head *head, Py_ssize_t max_target, Py_ssize_t max_method)
{
    span line;
    const char *at;
    if (!read_line(head, &line))
        return 0;
    for (at = line.at; at < line.end && is_token_char(*at); at++)
        ;
    head->method.at = line.at;
    head->method.end = at;
    if (at == line.at || at - line.at > max_method || line.end - at < 11 || at[0] != ' ' || at[1] != '/')
        return 0;
    head->target.at = head->path.at = at + 1;
    head->target.end = line.end - 9;
    if (memcmp(line.end - 9, " HTTP/1.", 8) != 0 || length_of(head->target) > max_target)
        return 0;
    head->minor = line.end[-1] - '0';
    head->query.at = head->query.end = head->path.end = head->target.end;
    for (at = head->target.at; at < head->target.end; at++) {
        if (*at < '!' || *at > '~' || *at == '#') /* a char may be signed: what is not ASCII is one or the other */
            return 0;
        if (*at == '?' && head->path.end == head->target.end) {
            head->path.end = at;
            head->query.at = at + 1;
        }
    }
    return (head->minor == 0 || head->minor == 1) && !is_text(head->method, "CONNECT", 7);
}

/* Sets what follows from the request line; 0, or -1 with an exception. */
static int
set_request_line(Head *head)
{
    const Constants *constants = head->constants;
    PyObject *values[LINE_NAMES] = {NULL};
    int i, failed;
    for (i = 0; i < METHODS && values[V_METHOD] == NULL; i++)
        if (is_text(head->method, method_names[i], strlen(method_names[i])))
            values[V_METHOD] = Py_NewRef(constants->methods[i]);
    if (values[V_METHOD] == NULL)
        values[V_METHOD] = as_str(head->method);
    values[V_URI] = as_str(head->target);
    values[V_RAW] = Py_XNewRef(values[V_URI]);
    if (memchr(head->path.at, '%', (size_t)length_of(head->path)) != NULL)
        values[V_PATH] = decoded(head->path);
    else if (head->path.end == head->target.end)
        values[V_PATH] = Py_XNewRef(values[V_URI]);
    else
        values[V_PATH] = as_str(head->path);
    values[V_QUERY] = as_str(head->query);
    values[V_PROTOCOL] = Py_NewRef(constants->versions[2 + head->minor]);
    for (i = 0, failed = 0; i < LINE_NAMES; i++) {
        failed = failed || values[i] == NULL || PyDict_SetItem(head->cgi, constants->line_keys[i], values[i]) < 0;
        Py_XDECREF(values[i]);
    }
    return failed ? -1 : 0;
}

/* Judges a field that the server acts on: 1 if it is plain, else 0. number: of the field, -1 for one without. */
static int
judge_field(Head *head, int number, span value)
{
    switch (number) {
    case F_HOST:
        head->host = 1;
        return is_plain_host(value);
    case F_CONNECTION:
        head->close = is_option(value, "close", 5);
        head->keep_alive = is_option(value, "keep-alive", 10);
        return head->close || head->keep_alive;
    case F_CONTENT_LENGTH:
        head->content_length = plain_length((text){(const unsigned char *)value.at, length_of(value)});
        return head->content_length >= 0;
    case F_EXPECT:
    case F_TRANSFER_ENCODING:
    case F_UPGRADE:
        return 0;
    case F_FORWARDED:
    case F_X_REAL_IP:
        head->told = 1;
        return 1;
    default:
        return 1;
    }
}

/* The number of the field that the environ calls HTTP_ and `name`; -1 if it is not a common one. */
static int
number_of(const Constants *constants, const char *name, size_t length)
{
    unsigned slot = hash_of(name, length);
    int number;
    while ((number = constants->slots[slot % SLOTS] - 1) >= 0) {
        if (strlen(field_names[number]) == length && memcmp(field_names[number], name, length) == 0)
            break;
        slot++;
    }
    return number;
}

/* Reads one field line and sets its key: 1, 0 if it is not plain, -1 with an exception. */
static int
read_field(Head *head, span line)
{
    char key[PREFIX + NAME_LENGTH] = "HTTP_", *to = key + PREFIX, c;
    span value = line;
    PyObject *key_object, *value_object;
    int number, set;
    for (; value.at < value.end && is_token_char(*value.at); value.at++) {
        c = *value.at;
        if (c == '_' || to == key + sizeof(key))
            return 0;
        *to++ = c == '-' ? '_' : c >= 'a' && c <= 'z' ? (char)(c - ('a' - 'A')) : c;
    }
    if (to == key + PREFIX || value.at == value.end || *value.at++ != ':')
        return 0;
    while (value.at < value.end && (*value.at == ' ' || *value.at == '\t'))
        value.at++;
    while (value.at < value.end && (value.end[-1] == ' ' || value.end[-1] == '\t'))
        value.end--;
    number = number_of(head->constants, key + PREFIX, (size_t)(to - key - PREFIX));
    if (!is_field_value(value) || !judge_field(head, number, value))
        return 0;
    if (to - key > PREFIX + 12 - 1 && memcmp(key + PREFIX, "X_FORWARDED_", 12) == 0)
        head->told = 1;
    key_object = number >= 0 ? Py_NewRef(head->constants->field_keys[number]) : PyUnicode_DecodeLatin1(key, to - key, NULL);
    value_object = key_object != NULL ? as_str(value) : NULL;
    set = value_object != NULL ? PyDict_SetItem(head->cgi, key_object, value_object) : -1;
    Py_XDECREF(key_object);
    Py_XDECREF(value_object);
    return set < 0 ? -1 : 1;
}

/* Reads field lines up to the blank line: 1, 0 if one is not plain or missing, -1 with an exception. */
static int
read_fields(Head *head, Py_ssize_t max_header_count)
{
    span line;
    while (read_line(head, &line)) {
        int read;
        if (line.at == line.end)
            return PyDict_Size(head->cgi) == LINE_NAMES + head->fields /* else one is repeated */
                   && (head->host || head->minor == 0);
        if (++head->fields > max_header_count)
            return 0;
        read = read_field(head, line);
        if (read <= 0)
            return read;
    }
    return 0;
}

/* The tuple PlainHead; NULL with an exception. */
static PyObject *
result_of(Head *head, Py_ssize_t size)
{
    const Constants *constants = head->constants;
    int keep_alive = head->minor == 1 ? !head->close : head->keep_alive;
    PyObject *const items[] = {
        PyLong_FromSsize_t(size),
        Py_XNewRef(PyDict_GetItemWithError(head->cgi, constants->line_keys[V_METHOD])),
        Py_XNewRef(PyDict_GetItemWithError(head->cgi, constants->line_keys[V_URI])),
        as_str(head->path),
        Py_XNewRef(PyDict_GetItemWithError(head->cgi, constants->line_keys[V_QUERY])),
        Py_NewRef(constants->versions[head->minor]),
        PyLong_FromLongLong(head->content_length),
        PyBool_FromLong(keep_alive),
        PyBool_FromLong(head->told),
        Py_NewRef(head->cgi),
    };
    PyObject *result = PyTuple_New(COUNT(items));
    int failed = result == NULL;
    for (int i = 0; i < COUNT(items); i++) {
        failed = failed || items[i] == NULL;
        if (result != NULL)
            PyTuple_SET_ITEM(result, i, items[i]);
        else
            Py_XDECREF(items[i]);
    }
    if (failed)
        Py_CLEAR(result);
    return result;
}

static PyObject *
plain_head(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    Head head = {.constants = PyModule_GetState(module)};
    Py_ssize_t numbers[5], size; /* at, max_head, max_target, max_method, max_header_count */
    PyObject *result = NULL;
    char *data;
    int read;
    if (count != 6) {
        PyErr_SetString(PyExc_TypeError, "plain_head takes six arguments");
        return NULL;
    }
    if (PyBytes_AsStringAndSize(args[0], &data, &size) < 0)
        return NULL;
    for (int i = 0; i < 5; i++)
        if ((numbers[i] = PyLong_AsSsize_t(args[i + 1])) == -1 && PyErr_Occurred())
            return NULL;
    if (numbers[0] < 0 || numbers[0] > size)
        Py_RETURN_NONE;
    head.rest.at = data + numbers[0];
    head.rest.end = data + (size - numbers[0] > numbers[1] ? numbers[0] + numbers[1] : size);
    if (!read_request_line(&head, numbers[2], numbers[3]))
        Py_RETURN_NONE;
    if ((head.cgi = PyDict_New()) == NULL)
        return NULL;
    read = set_request_line(&head) < 0 ? -1 : read_fields(&head, numbers[4]);
    if (read > 0)
        result = result_of(&head, head.rest.at - data - numbers[0]);
    else if (read >= 0)
        result = Py_NewRef(Py_None);
    Py_DECREF(head.cgi);
    return result;
}

/* -- the module */

/* METH_FASTCALL has a signature of its own; by way of void (*)(void) no compiler warns of the cast. */
#define FAST(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL

static PyMethodDef methods[] = {
    {"plain_head", FAST(plain_head), NULL},
    {"apply_mask", FAST(apply_mask), NULL},
    {"plain_response", FAST(plain_response), NULL},
    {"plain_frame", FAST(plain_frame), NULL},
    {"plain_message", FAST(plain_message), NULL},
    {NULL, NULL, 0, NULL},
};

/* The CRC-32 of this file, by which greenserve/codec.py knows what was compiled of another state of it; hatch_build.py
   defines it. */
#ifndef CODEC_SOURCE
#define CODEC_SOURCE 0u
#endif

static int
add_source(PyObject *module)
{
    PyObject *source = PyLong_FromUnsignedLong(CODEC_SOURCE);
    int result = source == NULL ? -1 : PyModule_AddObjectRef(module, "SOURCE", source);
    Py_XDECREF(source);
    return result;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)make_constants},
    {Py_mod_exec, (void *)add_source},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "greenserve._codec",
    .m_doc = "The compiled codec; see greenserve.codec.",
    .m_size = sizeof(Constants),
    .m_methods = methods,
    .m_slots = slots,
    /* No m_traverse: strings are in no cycle. */
    .m_free = drop_constants,
};

PyMODINIT_FUNC
PyInit__codec(void)
{
    return PyModuleDef_Init(&module);
}
