# shellcheck shell=bash disable=SC2034,SC2154
# Words for people: colours and lines redrawn in place only where a terminal reads them.

if [[ -t 1 && ${TERM:-dumb} != dumb ]]; then
    on_terminal=true bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' yellow=$'\e[33m' plain=$'\e[0m'
else
    on_terminal=false bold='' green='' red='' yellow='' plain=''
fi

say() { printf '%s\n' "$*"; }
headline() { printf '%s%s%s\n' "$bold" "$*" "$plain"; }

die() {
    printf '%s%s: %s%s\n' "$red" "$(basename "$0")" "$*" "$plain" >&2
    exit 1
}

# progress TEXT: on a terminal in place, else one line
progress() {
    if $on_terminal; then printf '\r\e[K%s' "$*"; else printf '%s\n' "$*"; fi
}

progress_end() {
    if $on_terminal; then printf '\r\e[K'; fi
}
