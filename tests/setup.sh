# Gives the tests what they need: packages, an engine, images, tools. Sourced by tests/run.
# Where it may not install, it says what to install and ends; it never goes on without.

TOOLS=target/tools
CARGO_DENY=0.20.2

# Each package and the program by which it is known to be there.
PACKAGES=(
    'etcd-server etcd'
    'etcd-client etcdctl'
    'docker.io dockerd'
    'busybox-static /usr/share/doc/busybox-static/copyright'
    'iproute2 ip'
    'iptables iptables'
    'gcc cc'
    'git git'
)

install_packages() {
    local missing=() package program
    for entry in "${PACKAGES[@]}"; do
        read -r package program <<<"$entry"
        command -v "$program" >/dev/null || [ -e "$program" ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "The tests need these Debian packages (or their equals): ${missing[*]}" >&2
        echo "Install them, or run tests/run as root on Debian or Ubuntu." >&2
        exit 1
    fi
    printf 'installing %s\n' "${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Starts an engine if none answers, and ends it with the run if it was started here.
start_engine() {
    docker info >/dev/null 2>&1 && return 0
    if [ "$(id -u)" -ne 0 ]; then
        echo 'No container engine answers, and only root may start one: start dockerd first.' >&2
        exit 1
    fi
    local out=target/dockerd.log
    mkdir -p target
    setsid dockerd >"$out" 2>&1 &
    engine=$!
    trap 'kill "$engine" 2>/dev/null; wait "$engine" 2>/dev/null || true' EXIT
    for _ in $(seq 1 300); do
        docker info >/dev/null 2>&1 && return 0
        kill -0 "$engine" 2>/dev/null || break
        sleep 0.1
    done
    echo "No container engine answers, and dockerd could not be started; the end of $out:" >&2
    tail -5 "$out" >&2
    exit 1
}

# Makes the test image from the static busybox: no registry is asked.
make_images() {
    local image=ocelot-test/busybox:1
    docker image inspect "$image" >/dev/null 2>&1 && return 0
    local tree
    tree=$(mktemp -d)
    mkdir -p "$tree/bin" "$tree/tmp" "$tree/etc"
    cp "$(dpkg -L busybox-static | grep -m1 '/bin/busybox$')" "$tree/bin/busybox"
    local name
    for name in $("$tree/bin/busybox" --list); do
        [ "$name" = busybox ] || ln -s busybox "$tree/bin/$name"
    done
    echo 'root:x:0:0::/:/bin/sh' >"$tree/etc/passwd"
    chmod 1777 "$tree/tmp"
    tar -C "$tree" -c . | docker import --change 'CMD ["/bin/sh"]' - "$image" >/dev/null
    rm -rf "$tree"
}

install_cargo_deny() {
    if cargo-deny --version 2>/dev/null | grep -qx "cargo-deny $CARGO_DENY"; then
        return 0
    fi
    PATH="$PWD/$TOOLS/bin:$PATH"
    cargo-deny --version 2>/dev/null | grep -qx "cargo-deny $CARGO_DENY" && return 0
    printf 'building cargo-deny %s (once)\n' "$CARGO_DENY"
    cargo install --quiet --locked --debug --root "$TOOLS" "cargo-deny@$CARGO_DENY"
}

check_dependencies() {
    cargo-deny --log-level error --all-features check --hide-inclusion-graph licenses bans sources || return 1
    local database=${CARGO_HOME:-$HOME/.cargo}/advisory-dbs
    if [ -d "$database" ]; then
        cargo-deny --log-level error check --disable-fetch advisories
    else
        echo 'not checked: advisories, because no database is at hand (cargo deny fetch gets one)'
    fi
}
