# Sourced by scripts: a head in this machine.
#   head_start        reads the rest of its configuration from standard input; then $HEAD is its process
#   ndmpc VERB ...    with the password

HEAD_URL=ndmp://backup@127.0.0.1:10000

head_start() {
    mkdir -p /run/head
    echo secret >/run/head/secret
    chmod 600 /run/head/secret
    {
        cat <<T
[server]
listen = "tcp:10000:interface=127.0.0.1"
state_dir = "/run/head/state"
[[user]]
name = "backup"
secret_file = "/run/head/secret"
T
        cat
    } >/run/head/ndmpd.toml
    cd "$ROOT"
    "$PYTHON" -m ndmpd serve --config /run/head/ndmpd.toml >/vmout/head.log 2>&1 &
    HEAD=$!
    for _ in $(seq 300); do
        (: </dev/tcp/127.0.0.1/10000) 2>/dev/null && return 0
        kill -0 $HEAD
        sleep 0.1
    done
    echo "the head does not listen" >&2
    return 1
}

ndmpc() {
    local verb=$1
    shift
    "$PYTHON" -m ndmpd.client "$verb" "$@" --password-file /run/head/secret 2>&1
}
