#!/usr/bin/env bash
# Checks that zloop_ticker ends cleanly: after all ticks, and after SIGINT and SIGTERM.
#
# usage: run-zloop-ticker.sh ZLOOP_TICKER...
set -eu -o pipefail
# Standard output is compared. Warnings, for example about a slow tower, go to standard error.
export ZSYS_LOGSTREAM=stderr

dir=$(mktemp -d)
pid=
cleanup() {
    if [ -n "$pid" ]; then kill "$pid" 2>/dev/null || true; fi
    rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

fail() {
    echo "run-zloop-ticker: $*" >&2
    cat "$dir/out" >&2
    exit 1
}

timeout 120 "$@" 20 10 >"$dir/out" || fail "exit code $?"
{ seq -f 'tick %.0f' 20; echo "20 of 20 ticks read"; } | diff - "$dir/out" || fail "other lines than expected"

for signal in INT TERM; do
    # timeout forwards signals; in the foreground it sends each only once. After two minutes it ends a hanging program.
    # The output of the previous run is removed.
    : >"$dir/out"
    timeout --foreground --signal=KILL 120 "$@" 1000000 10 >"$dir/out" &
    pid=$!
    until grep -qx 'tick 5' "$dir/out"; do
        kill -0 "$pid" 2>/dev/null || fail "it has ended before SIG$signal"
        sleep 0.02
    done
    status=0
    kill -"$signal" "$pid"
    wait "$pid" || status=$?
    pid=
    [ $status -eq 0 ] || fail "exit code $status after SIG$signal"
    # All ticks up to the last one, then their number
    count=$(($(wc -l <"$dir/out") - 1))
    { seq -f 'tick %.0f' $count; echo "$count of 1000000 ticks read, interrupted"; } | diff - "$dir/out" ||
        fail "other lines than expected after SIG$signal"
done
echo "run-zloop-ticker: all ticks came back, signals ended it"
