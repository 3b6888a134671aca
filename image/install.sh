#!/bin/sh
# Installs a list of requirements, wheels alone, under a prefix:
#   install.sh requirements.txt /usr/local [an index with CPU builds of torch]
set -eu
requirements=$1 prefix=$2 torch_index=${3:-}

# A prefix of its own is no part of Python's path, and pip must see what it put there.
site=$(python -c "import sysconfig; print(sysconfig.get_path('purelib', vars={'base': '$prefix'}))")
mkdir -p "$site"
export PYTHONPATH="$site:${PYTHONPATH:-}"

install() {
    python -m pip install --no-cache-dir --no-compile --only-binary=:all: --root-user-action=ignore \
        --disable-pip-version-check --prefix "$prefix" -c "$(dirname "$0")/constraints.txt" "$@"
}

# The default index has torch for GPUs only, ten times the size.
if [ -n "$torch_index" ] && grep -q '^torch\b' "$requirements"; then
    install --no-deps --retries 0 --timeout 10 --index-url "$torch_index" torch \
        || echo "torch comes from the default index"
fi
install -r "$requirements"
