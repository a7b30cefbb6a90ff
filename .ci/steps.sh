# Steps of a gate, for `.ci/run` and `.ci/full`: each is timed, and none is left out in silence.

STEPS=()
LEFT_OUT=()

# Runs a command as a step; its failure ends the gate.
step() {
    local began=$SECONDS
    printf '\n== %s\n' "$*"
    "$@"
    local took=$((SECONDS - began))
    STEPS+=("$took s  $*")
    printf '== %s: %d s\n' "$1 ${2:-}" "$took"
}

# optional NAME INSTALL CHECK: installs what a check needs, then runs it. LORANK_CI_WITHOUT_NAME=1 leaves both out.
optional() {
    local name=$1 install=$2 check=$3 variable=LORANK_CI_WITHOUT_$1
    if [ "${!variable:-}" = 1 ]; then
        printf '\n== left out: %s (%s=1)\n' "$check" "$variable"
        LEFT_OUT+=("$check ($variable=1)")
        return
    fi
    # A plain call: in a condition, `set -e` would not hold inside the function.
    printf '\n== %s (%s=1 leaves it out)\n' "$install" "$variable"
    step "$install"
    step "$check"
}

# venv NAME ARGUMENTS: a Python environment in target/ci/NAME, with pip's arguments installed.
venv() {
    local folder=target/ci/$1
    shift
    python3 -m venv "$folder"
    "$folder/bin/pip" install --quiet --no-compile --disable-pip-version-check "$@"
}

# cargo_tool CRATE VERSION: a program of crates.io, in target/ci/bin. Without optimization: to build it is what takes the time.
cargo_tool() {
    local root=$PWD/target/ci
    cargo install --quiet --locked --debug --root "$root" --target-dir "$root/build" "$1@$2"
    rm -rf "$root/build"
}

# debian PACKAGES: Debian's packages, as root.
debian() {
    if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
        echo "$*: not installed, and only root on Debian can install it here" >&2
        return 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "$@" >/dev/null
}

# nightly TOOLCHAIN COMPONENTS: a toolchain of rustup with components, installed only where one is missing (installing a channel
# again updates it).
nightly() {
    local toolchain=$1 component missing=()
    shift
    local installed
    installed=$(rustup component list --toolchain "$toolchain" --installed 2>/dev/null || true)
    for component in "$@"; do
        grep -q "^$component" <<<"$installed" || missing+=(--component "$component")
    done
    if [ ${#missing[@]} != 0 ]; then
        rustup toolchain install "$toolchain" --profile minimal --no-self-update "${missing[@]}" >/dev/null
    fi
}

summary() {
    printf '\n== Time by step\n'
    printf '%s\n' "${STEPS[@]}" | sort -rn
    printf '\n'
    [ ${#LEFT_OUT[@]} = 0 ] || printf 'left out: %s\n' "${LEFT_OUT[@]}"
    printf 'all checks passed in %d s\n' "$SECONDS"
}

export PATH=$PWD/target/ci/bin:$PATH
