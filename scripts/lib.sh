# What the check scripts share; to be sourced.

# has ARGUMENTS...: whether grep with these finds its input's lines. Reads all of the input first: `writer | grep -q` ends
# the writer with SIGPIPE as soon as a line was found, and the pipeline has failed then (pipefail), now and again.
has() {
    local text
    text=$(cat)
    grep -q "$@" <<<"$text"
}
