#!/usr/bin/env bash
# Copies 100 MB over a wide-area link between two network namespaces of this machine: 50 ms each way, 100 Mbit/s, 1 % loss.
#
#   bench/wan.sh PATH-TO-WANLINK [LANDLINE]
#
# Needs root, iproute2, and wanlink (which makes the namespaces wan-a, 10.77.0.1, and wan-b, 10.77.0.2). landline asks for BBR by
# itself where the kernel has it; a release before that, given as LANDLINE, shows what the kernel's default does.
set -euo pipefail
wanlink=$1 landline=${2:-target/release/landline}

if [ "${3:-}" != inside ]; then
    exec "$wanlink" --delay-ms 50 --rate-mbit 100 --loss-pct 1 --queue-kib 2048 --seed 1 -- bash "$0" "$wanlink" "$landline" inside
fi

work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$work"' EXIT
mkdir -m 700 "$work/home" "$work/client"
in_a() { ip netns exec wan-a "$@"; }
in_b() { ip netns exec wan-b "$@"; }

HOME=$work/home in_b "$landline" --state "$work/server" serve --listen 10.77.0.2:0 --json --allow-root >"$work/out" &
server=$!
for _ in $(seq 100); do [ -s "$work/out" ] && break; sleep 0.1; done
in_a "$landline" --state "$work/client" join - --as wan <"$work/server/server/invite" >/dev/null
head -c 100000000 /dev/urandom >"$work/file"

measure() { # LABEL FROM TO
    local start end
    start=$(date +%s.%N)
    in_a "$landline" --state "$work/client" cp -q "$2" "$3" >/dev/null
    end=$(date +%s.%N)
    awk -v label="$1" -v s="$start" -v e="$end" 'BEGIN { printf "%-12s %6.1f Mbit/s  %5.1f s\n", label, 800 / (e - s), e - s }'
}

for round in 1 2 3; do
    measure "up" "$work/file" 10.77.0.2:file
    measure "down" 10.77.0.2:file "$work/back"
    cmp "$work/file" "$work/back"
done
