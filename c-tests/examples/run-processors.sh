#!/usr/bin/env bash
# Runs wordcount with a tower, a store and a producer of text. Kills it (SIGKILL) repeatedly while it works, and
# compares its totals with those of tr, sort and uniq. Does the same with resumable, which must print each line.
#
# usage: run-processors.sh BIN LINES WORDCOUNT...
#        BIN: directory of the library's programs; WORDCOUNT...: command of the example, perhaps with valgrind.
#        resumable is in the same directory.
set -eu -o pipefail
# Standard output is compared. Warnings, for example about a slow tower, go to standard error.
export ZSYS_LOGSTREAM=stderr

bin=$1
lines=$2
shift 2
wordcount=("$@")
resumable=("${@/%\/wordcount//resumable}")

dir=$(mktemp -d)
declare -A pids=()
writer=
cleanup() {
    if [ -n "$writer" ]; then kill "$writer" 2>/dev/null || true; fi
    # Programs still run only after a failure. A processor would wait for a store that may have ended, so kill it.
    for name in "${!pids[@]}"; do
        kill -KILL "${pids[$name]}" 2>/dev/null || true
        wait "${pids[$name]}" 2>/dev/null || true
    done
    rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

fail() {
    echo "run-processors: $*" >&2
    tail -n 50 "$dir"/*.log >&2
    exit 1
}
# Waits until a command succeeds. Fails after four minutes, or when a program ends that should run.
wait_for() {
    local what=$1 deadline=$((SECONDS + 240))
    shift
    until "$@"; do
        for name in "${!pids[@]}"; do
            kill -0 "${pids[$name]}" 2>/dev/null || fail "waiting for $what: the $name has ended"
        done
        [ $SECONDS -lt $deadline ] || fail "$what: did not happen"
        sleep 0.02
    done
}
# Ends a program with SIGTERM. It must exit with 0.
end() {
    local status=0
    kill "${pids[$1]}"
    wait "${pids[$1]}" || status=$?
    unset "pids[$1]"
    [ $status -eq 0 ] || fail "the $1 ended with $status"
}

# Ports below those that the system gives to connections, above those of other tests. They are chosen right before use.
port() {
    local port
    while :; do
        port=$((30000 + RANDOM % 2768))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then break; fi
    done
    echo "$port"
}
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
# Text of a few hundred words with mixed case and punctuation, the same in each run. Some lines are empty or have no
# words.
awk -v lines="$lines" 'BEGIN {
    srand(46)
    split("|, |. | - |; |\t|  |7|_|!\"#$%&|ü", between, "|")
    for (line = 0; line < lines; line++) {
        text = ""
        count = int(rand() * 14)
        for (i = 0; i < count; i++) {
            number = int(rand() * rand() * 400)
            word = sprintf("%c%c", 97 + number % 26, 97 + int(number / 26))
            if (rand() < 0.2) word = toupper(word)
            if (rand() < 0.3) word = word "ing"
            text = text word (rand() < 0.6 ? " " : between[int(rand() * 11) + 1])
        }
        print text
    }
}' >"$dir/text"
LC_ALL=C tr -cs 'A-Za-z' '\n' <"$dir/text" | LC_ALL=C tr 'A-Z' 'a-z' | sed '/^$/d' | LC_ALL=C sort | uniq -c |
    awk '{ print $2, $1 }' >"$dir/expected"
[ "$(wc -l <"$dir/expected")" -gt 100 ] || fail "the text has too few words"

sub_port=$(port)
pub_port=$(port)
cat >"$dir/dafka.cfg" <<CFG
tower
    sub_address = "tcp://127.0.0.1:$sub_port"
    pub_address = "tcp://127.0.0.1:$pub_port"
beacon
    sub_address = "tcp://127.0.0.1:$sub_port"
    pub_address = "tcp://127.0.0.1:$pub_port"
    address = "127.0.0.1"
    interval = 100
store
    db = "$dir/db"
CFG

"$bin/dafka_towerd" -c "$dir/dafka.cfg" 2>"$dir/tower.log" &
pids[tower]=$!
wait_for "the tower's start" listens "$pub_port"
# Reads the output of the processors, to decide when to kill them
"$bin/dafka_console_consumer" -c "$dir/dafka.cfg" --from-beginning counts >"$dir/seen" 2>"$dir/watch.log" &
pids[watch]=$!

# The producer gets the text in parts, so there is work left whenever a processor is killed.
mkfifo "$dir/input"
"$bin/dafka_console_producer" -c "$dir/dafka.cfg" text <"$dir/input" 2>"$dir/producer.log" &
pids[producer]=$!
exec 5>"$dir/input"
parts=8
# So many records of output are awaited that no store has
unsafe=20
place() { echo $((lines * $1 / parts)); }
feed() { # feed PART: in the background, as the producer reads no faster than it can
    sed -n "$(($(place $(($1 - 1))) + 1)),$(place "$1")p" "$dir/text" >&5 &
    writer=$!
}
fed() { # what feed began
    wait "$writer"
    writer=
}

start_store() {
    "$bin/dafka_stored" -c "$dir/dafka.cfg" 2>>"$dir/store.log" 5>&- &
    pids[store]=$!
}
start() { # the next wordcount
    runs=$((${runs:-0} + 1))
    "${wordcount[@]}" "$dir/dafka.cfg" process text counts 2>"$dir/wordcount-$runs.log" 5>&- &
    pids[wordcount]=$!
}
kill_hard() {
    kill -KILL "${pids[$1]}"
    wait "${pids[$1]}" 2>/dev/null || true
    unset "pids[$1]"
}
# Output records without subject and address, and the number of different input records in them
outputs() { cut -d ' ' -f 3- "$dir/seen"; }
places() { outputs | cut -d ' ' -f 1,2 | sort -u | wc -l; }
seen() { [ "$(places)" -ge "$1" ]; }
# Where the processor with this number began, once it has read a record
begun() { sed -n 's/^wordcount: begins at record \([0-9]*\) .*/\1/p' "$dir/wordcount-$1.log"; }
has_begun() { [ -n "$(begun "$1")" ]; }
# Whether the processor with this number has done all records before this one, and has committed that
has_done() { has_begun "$1" && grep -q "^wordcount: $(($2 - $(begun "$1"))) records done, waiting" "$dir/wordcount-$1.log"; }

# The store is stopped. The first processor is killed after it has published records that the store cannot have. (It
# publishes at most 100 of them before it waits for the store.) The store is killed too, so that these records are lost.
start_store
feed 1
start
fed
wait_for "a commit of the first processor" has_done 1 "$(place 1)"
kill -STOP "${pids[store]}"
feed 2
wait_for "output that no store has" seen $(($(place 1) + unsafe))
kill_hard wordcount
kill_hard store
fed
start_store

# The second processor must repeat that work. Then it is killed in the same way, but the store survives, and reads the
# records after their processor is dead.
start
wait_for "the second processor's start" has_begun 2
[ "$(begun 2)" -le "$(place 1)" ] || fail "the store has output that it cannot have"
feed 3
fed
wait_for "a commit of the second processor" has_done 2 "$(place 3)"
kill -STOP "${pids[store]}"
feed 4
wait_for "output that no store has" seen $(($(place 3) + unsafe))
kill_hard wordcount
kill -CONT "${pids[store]}"
fed

# The third processor is killed while it works.
start
feed 5
wait_for "output of the third processor" seen $(($(place 4) + lines / parts / 2))
kill_hard wordcount
fed

# The fourth one is not killed. At the end of its input the producer waits for the store, and ends.
start
for part in $(seq 6 $parts); do
    feed "$part"
    fed
done
exec 5>&-
wait "${pids[producer]}" || fail "the producer ended with $?"
unset "pids[producer]"

check() { # check TOPIC: what a reader finds there
    timeout 240 "${wordcount[@]}" "$dir/dafka.cfg" print "$1" "$lines" >"$dir/totals" 2>"$dir/print.log" ||
        fail "wordcount print: exit code $?"
    diff "$dir/expected" "$dir/totals" >&2 || fail "the totals of $1 are wrong"
}
# The reader waits for the last record while the processor works
check counts
end wordcount
# All of the output is in the store now, and its processor has ended. A further processor reads the last records again,
# if any.
check counts
start
echo "one more line" | "$bin/dafka_console_producer" -c "$dir/dafka.cfg" text 2>"$dir/more.log"
wait_for "output of a further processor" seen $((lines + 1))
end wordcount
# No processor that has found a position began at 0. Each of them may have started before the store was ready.
[ $(($(begun 2) + $(begun 3) + $(begun 4))) -gt 0 ] || fail "no processor has continued where another one stopped"

# resumable is killed while it prints the text. The next run prints the rest.
touch "$dir/printed-1" "$dir/printed-2"
"${resumable[@]}" "$dir/dafka.cfg" text printer >"$dir/printed-1" 2>"$dir/resumable.log" &
pids[resumable]=$!
printed() { [ "$(wc -l <"$dir/printed-$1")" -ge "$2" ]; }
wait_for "lines that resumable prints" printed 1 $((lines / 2))
kill_hard resumable
"${resumable[@]}" "$dir/dafka.cfg" text printer >"$dir/printed-2" 2>>"$dir/resumable.log" &
pids[resumable]=$!
finished() { grep -q "^$((lines - 1)) " "$dir/printed-2"; }
wait_for "the last line" finished
end resumable
cat "$dir"/printed-[12] | LC_ALL=C sort -u | LC_ALL=C sort -n | grep -vx '0 one more line' | cut -d ' ' -f 2- |
    cmp - "$dir/text" >&2 || fail "resumable has not printed each line"
again=$(($(cat "$dir"/printed-[12] | wc -l) - lines - 1))
[ "$again" -lt "$lines" ] || fail "resumable began again at the first line"

# Publishes each output record twice, in one partition. So the reader certainly receives repetitions.
outputs | grep -v ' 0 line 1 more 1 one 1$' | awk '{ print; print }' | "$bin/dafka_console_producer" -c "$dir/dafka.cfg" twice 2>"$dir/twice.log"
check twice
repeated=$(sed -n 's/.* \([0-9]*\) repetitions dropped$/\1/p' "$dir/print.log")
[ "$repeated" -ge $((lines - 1)) ] || fail "only $repeated repetitions"

end watch
end store
end tower
cat "$dir"/wordcount-*.log
echo "run-processors: $lines records, $(outputs | wc -l) output records, 3 processors killed: the totals are right; $again lines printed again"
