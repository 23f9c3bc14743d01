# Functions of the check scripts, to be sourced.

# has ARGUMENTS...: succeeds when grep with these arguments finds a line in its input. It reads all of the input first.
# With `writer | grep -q`, the writer can die of SIGPIPE after a line was found, and the pipeline then fails (pipefail).
has() {
    local text
    text=$(cat)
    grep -q "$@" <<<"$text"
}
