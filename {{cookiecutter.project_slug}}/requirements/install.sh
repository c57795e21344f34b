#!/bin/sh
# install.sh VENV LOCK [FOLDER ...]: what the lock names, then the folders' own code, editable. Makes the environment
# where it is missing. With uv: this machine's, else the one of uv.txt; with pip where that cannot be had.
set -eu
here=$(dirname "$0") venv=$1 lock=$2
shift 2

fail() {
    echo "error: $*" >&2
    exit 1
}

find_python() {
    for candidate in ${PREFERRED_PYTHON:-} python3 python python3.15 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed, and there is only: $(python3 --version 2>&1 || true)"
}

make_environment() {
    python=$(find_python)
    echo "Making $venv with $("$python" --version)"
    if [ -n "$uv" ]; then
        "$uv" venv -q --python "$python" "$venv"
    elif ! "$python" -m venv "$venv"; then
        rm -rf "$venv"
        fail "$python cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv"
    fi
}

with_pip() {
    "$venv/bin/python" -m pip install -q --disable-pip-version-check "$@"
}

with_uv() {
    quiet=-q
    [ ! -t 2 ] || quiet= # on a terminal it draws its progress
    "$uv" pip install $quiet --python "$venv/bin/python" "$@"
}

fetch_uv() {
    echo "Installing uv with pip"
    with_pip --require-hashes --only-binary :all: -r "$here/uv.txt" || return 0
    uv=$venv/bin/uv
}

# uv reads nothing of pip's configuration.
pass_index_on() {
    index=$("$venv/bin/python" -m pip config list 2>/dev/null | sed -n "s/^[a-z:]*\.index-url='\(.*\)'$/\1/p" | tail -n 1)
    [ -z "$index" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"
}

install() {
    if [ -n "$uv" ]; then with_uv "$@"; else with_pip "$@"; fi
}

install_lock() {
    with=${uv:+uv}
    echo "Installing $lock with ${with:-pip}"
    install --require-hashes -r "$lock" && return
    [ "$uv" = "$venv/bin/uv" ] || exit 1 # the machine's own has said why
    echo "Once more with pip, which takes about a minute"
    uv=
    install --require-hashes -r "$lock"
}

uv=$(command -v uv || true)
[ -n "$uv" ] || [ ! -x "$venv/bin/uv" ] || uv=$venv/bin/uv
[ -x "$venv/bin/python" ] || make_environment
[ -n "$uv" ] || [ ! -f "$here/uv.txt" ] || fetch_uv
[ "$uv" != "$venv/bin/uv" ] || pass_index_on
install_lock
[ $# -gt 0 ] || exit 0
# By path, never by name: an index has no say in what the tree holds.
for folder; do
    set -- "$@" -e "$folder"
    shift
done
install --no-deps --no-build-isolation --no-index "$@"
