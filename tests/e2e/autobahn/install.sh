#!/bin/sh
# Installs the Autobahn WebSocket test suite (wstest) into a directory, from PyPI alone.
#
#     sh install.sh DIRECTORY        then DIRECTORY/venv/bin/wstest is there
#
# It needs Python 2.7: the one named by PYTHON27, else python2.7 on the PATH, else one that pyenv has installed.
# Doing it again on a directory that has it already does nothing.
set -eu

directory=${1:?usage: sh install.sh DIRECTORY}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
wstest=$directory/venv/bin/wstest

if [ -x "$wstest" ] && cmp -s "$here/requirements.txt" "$directory/installed.txt"; then
    echo "$wstest"
    exit 0
fi

python=${PYTHON27:-$(command -v python2.7 || true)}
if [ -z "$python" ] || ! "$python" -c "" 2>/dev/null; then
    # A python2.7 of pyenv's on the PATH does not run unless it is the selected version.
    for python in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/2.7.*/bin/python2.7 ""; do
        [ -x "$python" ] && break
    done
fi
if [ -z "$python" ]; then
    echo "Python 2.7 is missing: install it (pyenv install 2.7.18) or name it in PYTHON27" >&2
    exit 3
fi

# 20.15.1 is the last virtualenv that makes environments of Python 2.7, and it brings pip and setuptools for them along.
"$python" -m pip --disable-pip-version-check install --quiet --target "$directory/bootstrap" --upgrade virtualenv==20.15.1
PYTHONPATH=$directory/bootstrap "$python" -m virtualenv --quiet --no-download "$directory/venv"
pip="$directory/venv/bin/pip --disable-pip-version-check --quiet"
$pip install --no-deps -r "$here/requirements.txt"
$pip install --no-deps wsaccel==0.6.6 || echo "no C compiler, so no wsaccel: the suite runs, more slowly" >&2
"$wstest" --autobahnversion >/dev/null
cp "$here/requirements.txt" "$directory/installed.txt"
echo "$wstest"
