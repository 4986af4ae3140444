# shellcheck shell=bash disable=SC2034,SC2154
# Installs the Debian packages that are missing, and only those.  Needs say.sh, and $top: the top of the tree.

# packages_missing GROUP…
packages_missing() {
    local group
    for group in "$@"; do
        awk -v group="$group" '$1 == group { print $2 }' "$top/tools/lib/packages.list"
    done | sort -u | while read -r package; do
        dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || printf '%s\n' "$package"
    done
}

# Debian starts and enables a service that comes with a package (etcd's).  Nobody asked for one here.
services_hold() {
    services_policy=/usr/sbin/policy-rc.d
    if [[ -e $services_policy ]]; then
        services_policy=
    else
        printf '#!/bin/sh\nexit 101\n' >"$services_policy"
        chmod 755 "$services_policy"
    fi
}

services_release() {
    if [[ -n ${services_policy:-} ]]; then rm -f "$services_policy"; fi
    services_policy=
}

# Nor at the next boot: we run our own where we need one.
services_disable() { # PACKAGE…, just installed
    local package
    local -A service=([etcd-server]=etcd [haproxy]=haproxy [nginx]=nginx [nghttp2-proxy]=nghttpx)
    command -v systemctl >/dev/null || return 0
    for package in "$@"; do
        if [[ -n ${service[$package]:-} ]]; then systemctl disable --quiet "${service[$package]}.service" >/dev/null 2>&1 || true; fi
    done
}

# packages_install GROUP…: says what it does; a list of packages that is too old is fetched anew, once.
packages_install() {
    local missing log
    mapfile -t missing < <(packages_missing "$@")
    if ((${#missing[@]} == 0)); then return 0; fi
    if ((EUID != 0)); then
        die "missing packages: ${missing[*]}
  install them:  sudo apt-get install --no-install-recommends ${missing[*]}"
    fi
    command -v apt-get >/dev/null || die "this is not a Debian: install by hand what stands for: ${missing[*]}"
    log=$(mktemp)
    say "installing ${#missing[@]} missing Debian packages: ${missing[*]}"
    services_hold
    if ! packages_apt "$log" "${missing[@]}"; then
        say "  refreshing the list of packages first (apt-get update)"
        if ! apt-get -q update </dev/null >"$log" 2>&1 || ! packages_apt "$log" "${missing[@]}"; then
            services_release
            tail -20 "$log" >&2
            rm -f "$log"
            die "apt-get could not install them (above: its last words).  Is the network there?  Is /etc/apt/sources.list a Debian 12's?"
        fi
    fi
    services_release
    rm -f "$log"
    services_disable "${missing[@]}"
    progress_end
    say "  installed"
}

apt_child=
apt_log=

packages_apt() {
    local done_count status=0
    apt_log=$1
    shift
    DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 \
        install "$@" </dev/null >"$apt_log" 2>&1 &
    apt_child=$!
    while kill -0 "$apt_child" 2>/dev/null; do
        done_count=$(grep -c '^Setting up' "$apt_log" || true)
        if $on_terminal; then progress "  $done_count set up; $(tail -n 1 "$apt_log" | cut -c 1-80)"; fi
        sleep 1
    done
    wait "$apt_child" || status=$?
    apt_child=
    return "$status"
}

# For a script that is being ended: a download is ended too, but dpkg may finish what it has begun.
packages_stop() {
    if [[ -n $apt_child ]]; then
        if ! grep -qE '^(Unpacking|Preparing|Setting up)' "$apt_log"; then kill -TERM "$apt_child" 2>/dev/null || true; fi
        say "waiting for apt-get to come to a safe end" >&2
        wait "$apt_child" 2>/dev/null || true
        apt_child=
    fi
    services_release
}
