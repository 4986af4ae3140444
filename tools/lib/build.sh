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

# build_setup DIRECTORY MESON-OPTION…: makes the directory, or gives one that exists the same options
build_setup() {
    local directory=$top/$1 log
    shift
    log=$directory.setup.log
    if [[ -e $directory/build.ninja ]]; then
        waiting meson configure "$directory" "$@" >"$log" 2>&1 && rm -f "$log" && return 0
    else
        waiting meson setup "$directory" "$top" "$@" >"$log" 2>&1 && rm -f "$log" && return 0
    fi
    tail -20 "$log" >&2
    die "meson could not set up $directory (above: its last words; all of them: $log)"
}

# build_run DIRECTORY TARGET…: one build at a time in a directory; no target means all
build_run() {
    local directory=$top/$1 log status=0 began=$SECONDS last='' now
    shift
    log=$directory/build.log
    (
        flock 9
        exec env NINJA_STATUS='[%f/%t] ' ninja -C "$directory" "$@" 9>&-
    ) 9>"$directory/.lock" >"$log" 2>&1 &
    build_child=$!
    while kill -0 "$build_child" 2>/dev/null; do
        now=$(tail -n 1 "$log" 2>/dev/null | grep -o '^\[[0-9]*/[0-9]*\]' || true)
        if $on_terminal; then
            progress "  building $(basename "$directory") $now"
        elif [[ $now != "$last" ]] && (((SECONDS - began) % 15 == 0)); then
            say "  building $(basename "$directory") $now"
            last=$now
        fi
        sleep 1
    done
    wait "$build_child" || status=$?
    build_child=
    progress_end
    if ((status != 0)); then
        grep -A 12 -E '(error|FAILED|undefined reference)' "$log" | head -60 >&2 || tail -20 "$log" >&2
        say "the build failed (all of its words: $log)" >&2
    fi
    return "$status"
}
