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

/* -- the module */

/* METH_FASTCALL has a signature of its own; by way of void (*)(void) no compiler warns of the cast. */
#define FAST(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL

static PyMethodDef methods[] = {
    {"apply_mask", FAST(apply_mask), NULL},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
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
