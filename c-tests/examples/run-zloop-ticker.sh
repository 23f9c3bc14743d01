#!/usr/bin/env bash
# zloop_ticker ends cleanly: when all ticks have come back, and upon SIGINT and SIGTERM in the midst.
#
# usage: run-zloop-ticker.sh ZLOOP_TICKER...
set -eu -o pipefail
# What is printed is compared. Warnings, such as that a tower takes its time, are none of that.
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
    # timeout passes signals on, in the foreground once each; what it does after two minutes is a watchdog's bite. What an earlier run has printed
    # must not be taken for this one's.
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
    # All ticks up to the last are there, then how many they were.
    count=$(($(wc -l <"$dir/out") - 1))
    { seq -f 'tick %.0f' $count; echo "$count of 1000000 ticks read, interrupted"; } | diff - "$dir/out" ||
        fail "other lines than expected after SIG$signal"
done
echo "run-zloop-ticker: all ticks came back, signals ended it"
