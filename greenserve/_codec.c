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

/* -- the module */

static PyMethodDef methods[] = {
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
