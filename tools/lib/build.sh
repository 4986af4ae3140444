# shellcheck shell=bash disable=SC2034,SC2154
# Builds with meson and ninja, with progress and with the compiler's words if it fails.  Needs say.sh, and $top.

build_child=

# waiting COMMAND…: like COMMAND, but a signal to this script is served at once (build_stop ends the command)
waiting() {
    local status=0
    "$@" &
    build_child=$!
    wait "$build_child" || status=$?
    build_child=
    return "$status"
}

build_stop() {
    if [[ -n $build_child ]]; then
        kill -TERM "$build_child" 2>/dev/null || true
        wait "$build_child" 2>/dev/null || true
    fi
    build_child=
}

# One set-up or build at a time in this tree, whoever runs it.  The lock is this very file: nothing to leave behind.
build_lock() {
    exec 9<"$top/tools/lib/build.sh"
    if ! flock -n 9; then
        say "  another build of this tree is under way: waiting for it"
        waiting flock 9
    fi
}
build_unlock() { exec 9<&-; }

# build_setup DIRECTORY MESON-OPTION…: makes the directory, or gives one that exists the same options
build_setup() {
    local directory=$top/$1 log status=0
    shift
    build_lock
    log=$(mktemp)
    if [[ -e $directory/build.ninja ]]; then
        waiting meson configure "$directory" "$@" >"$log" 2>&1 9<&- || status=$?
    else
        waiting meson setup "$directory" "$top" "$@" >"$log" 2>&1 9<&- || status=$?
    fi
    build_unlock
    if ((status != 0)); then tail -20 "$log" >&2; fi
    rm -f "$log"
    ((status == 0)) || die "meson could not set up $directory (above: its last words)"
}

# build_run DIRECTORY TARGET…: no target means all
build_run() {
    local directory=$top/$1 log status=0 began=$SECONDS last='' now
    shift
    build_lock
    log=$directory/build.log
    NINJA_STATUS='[%f/%t] ' ninja -C "$directory" "$@" >"$log" 2>&1 9<&- &
    build_child=$!
    while kill -0 "$build_child" 2>/dev/null; do
        now=$(tail -n 1 "$log" 2>/dev/null | grep -o '^\[[0-9]*/[0-9]*\]' || true)
        if $on_terminal; then
            progress "  building $(basename "$directory") $now"
        elif [[ $now != "$last" ]] && (((SECONDS - began) % 15 == 0)); then
            say "  building $(basename "$directory") $now"
            last=$now
        fi
        sleep 0.5
    done
    wait "$build_child" || status=$?
    build_child=
    build_unlock
    progress_end
    if ((status != 0)); then
        grep -A 12 -E '(error|FAILED|ERROR|undefined reference)' "$log" | head -60 >&2 || tail -20 "$log" >&2
        say "the build failed (all of its words: $log)" >&2
    fi
    return "$status"
}
