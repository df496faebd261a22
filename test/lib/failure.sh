# test/lib/failure.sh - what a script shows when it fails. Sourced by e2e/lib.sh, netns.sh and wgns.sh.
#
# run.sh keeps 25 lines before the word FAIL (what the failed command itself had said) and 90 after it; these are shared
# by the files that were written to last.

# show_ends FILE... : the ends of the eight newest of them that have text, the newest last
show_ends() {
	local file n
	local -a files
	mapfile -t files < <(grep -lI . -- "$@" 2>/dev/null | xargs -r -d '\n' ls -t -- | head -n 8)
	[ ${#files[@]} -gt 0 ] || return 0
	for ((n = ${#files[@]} - 1; n >= 0; n--)); do
		file=${files[n]}
		echo "--- ${file#"$T"/} (end)"
		tail -n $((80 / ${#files[@]} > 25 ? 25 : 80 / ${#files[@]} - 1)) "$file" | cut -c 1-400
	done
}

# A time limit says what the script was at, as far as it says so itself ($what of check and expect).
trap 'fail "told to end (a time limit?) at \"${what:-its beginning}\""' TERM
