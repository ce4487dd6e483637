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

/* -- the module */

/* METH_FASTCALL has a signature of its own; by way of void (*)(void) no compiler warns of the cast. */
#define FAST(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL

static PyMethodDef methods[] = {
    {"apply_mask", FAST(apply_mask), NULL},
    {"plain_response", FAST(plain_response), NULL},
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
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__codec(void)
{
    return PyModuleDef_Init(&module);
}
