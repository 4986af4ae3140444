# shellcheck shell=bash disable=SC2034,SC2154
# QEMU and a kernel for the guest of the nic tier, from Debian's packages.  Needs say.sh, packages.sh, and $top.

# emulator_version: QEMU's major version, or nothing
emulator_version() {
    qemu-system-x86_64 --version 2>/dev/null | sed -n 's/^QEMU emulator version \([0-9]*\)\..*/\1/p'
}

# The emulated Intel 82576 came with QEMU 8; Debian 12 has 7.2, and 10 in its backports.  These are named to apt-get for this one
# command: the machine's own list of sources stays as it is.
emulator_backports() { # log
    local list uri status=0
    # shellcheck disable=SC2016 # apt-get's words
    uri=$(apt-get indextargets --format '$(REPO_URI)|$(CODENAME)' | sed -n 's/|bookworm$//p' | head -n 1)
    if [[ -z $uri ]]; then return 1; fi
    list=$(mktemp --suffix=.list)
    {
        cat /etc/apt/sources.list 2>/dev/null || true
        printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s bookworm-backports main\n' "$uri"
    } >"$list"
    chmod 644 "$list"
    apt-get -q -o Dir::Etc::sourcelist="$list" -o APT::Get::List-Cleanup=0 update </dev/null >"$1" 2>&1 &&
        packages_apt "$1" -o Dir::Etc::sourcelist="$list" {qemu-system-x86,qemu-system-common,qemu-system-data,seabios}/bookworm-backports || status=$?
    rm -f "$list"
    return "$status"
}

# emulator_install: false: it cannot be had
emulator_install() {
    local version log status=0
    version=$(emulator_version)
    if [[ -n $version ]] && ((version >= 8)); then return 0; fi
    if ((EUID != 0)) || ! command -v apt-get >/dev/null; then [[ -n $version ]]; return; fi
    log=$(mktemp)
    say "installing QEMU from Debian's backports"
    services_hold
    if ! emulator_backports "$log"; then
        say "  not to be had; Debian 12's own instead, which emulates virtio but no Intel 82576"
        packages_apt "$log" qemu-system-x86 || status=$?
    fi
    services_release
    rm -f "$log"
    return "$status"
}

# emulator_kernel DIRECTORY: Debian's kernel for virtual machines as DIRECTORY/vmlinuz and DIRECTORY/modules, fetched once.
emulator_kernel() {
    local directory=$1 work package status=0
    if [[ -e $directory/vmlinuz ]]; then return 0; fi
    package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p' | head -n 1)
    if [[ -z $package ]]; then
        apt-get -q update </dev/null >/dev/null 2>&1 || true
        package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p' | head -n 1)
    fi
    if [[ -z $package ]]; then return 1; fi
    work=$(mktemp -d)
    chmod 755 "$work"
    say "fetching $package for the guest"
    (cd "$work" && apt-get -q -o APT::Sandbox::User=root download "$package" </dev/null >/dev/null 2>&1 && dpkg-deb -x ./*.deb tree) || status=1
    if ((status == 0)); then
        mkdir -p "$directory/modules"
        find "$work/tree" \( -path '*virt*' -o -name '*failover.ko' -o -path '*/vfio/*' \) -name '*.ko' -exec cp -t "$directory/modules" {} + && cp "$work"/tree/boot/vmlinuz-* "$directory/vmlinuz" || status=1
    fi
    rm -rf "$work"
    return "$status"
}
