# shellcheck shell=bash disable=SC2034,SC2154
# A network and process namespace of one's own, without a name: it ends with its last process, so that nothing of it
# can be left behind, whatever happens to whoever made it (kill -9 included).  Needs say.sh.
#
#   kernel side of the tap pen0:  198.18.0.1/24  2001:db8::1/64    etcd (127.0.0.1), backends, client
#   penstock's side:              198.18.0.2     2001:db8::2

# lab_run COMMAND…: becomes the command, as process 1 of a new lab.  Its end, or ours, is the end of everything in it.
lab_run() {
    exec setpriv --pdeathsig KILL -- unshare --net --pid --fork --kill-child=KILL --mount-proc -- "$@"
}

# lab_run_kept COMMAND…: the same, but it outlives us
lab_run_kept() {
    exec unshare --net --pid --fork --kill-child=KILL --mount-proc -- "$@"
}

# lab_prepare DIRECTORY: the first act inside
lab_prepare() {
    unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY grpc_proxy
    export ETCDCTL_API=3
    export RUNTIME_DIRECTORY=$1/run # where DPDK keeps its files; never the machine's /run
    mkdir -p "$RUNTIME_DIRECTORY"
    ip link set lo up
}

# lab_wait SECONDS WHAT COMMAND…: until the command succeeds; WHAT is for the message if it never does
lab_wait() {
    local tries=$(($1 * 20)) what=$2
    shift 2
    while ! "$@" >/dev/null 2>&1; do
        if ((--tries <= 0)); then
            say "no $what in time" >&2
            return 1
        fi
        sleep 0.05
    done
}

# lab_etcd DIRECTORY: starts etcd on 127.0.0.1:2379; sets etcd_pid
lab_etcd() {
    etcd --name lab --data-dir "$1/etcd" --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
        --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
        --initial-cluster lab=http://127.0.0.1:2380 --logger zap --log-level error >"$1/etcd.log" 2>&1 &
    etcd_pid=$!
    lab_wait 20 "answer from etcd (its words: $1/etcd.log)" curl -fsS http://127.0.0.1:2379/health
}

# lab_addresses: gives the kernel's side of the tap its addresses, once penstock has made the tap
lab_addresses() {
    lab_wait 20 "interface pen0 (penstock makes it)" ip link show pen0 || return 1
    ip addr add 198.18.0.1/24 dev pen0
    ip -6 addr add 2001:db8::1/64 dev pen0 nodad
    ip link set pen0 up
}
