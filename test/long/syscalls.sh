#!/bin/bash
# test/long/syscalls.sh - every system call of `nefia host add` that touches a file fails once, and kills it once: the host
# is there with its agent's file, or neither is; the configuration is whole; and the exit status tells which.
cd "$(dirname "$0")/../.." || exit 1
skip() { echo "SKIP syscalls: $*"; exit 77; }
command -v strace >/dev/null || skip "strace is not installed"
NEFIA=${BUILD:-$PWD/build}/nefia
T=$(mktemp -d /tmp/nefia-sys.XXXXXX)
trap 'rm -rf "$T"' EXIT
export NEFIA_HOME=$T/op
exec 2>/dev/null # the shell tells of each that was killed
fail() { echo "FAIL syscalls: $*"; cat "$T/err"; exit 1; }
"$NEFIA" init >/dev/null 2>&1 || fail init
"$NEFIA" host add base --agent-config "$T/base.yaml" >/dev/null || fail "host add"
cp "$NEFIA_HOME/nefia.yaml" "$T/good"
strace -qq -o "$T/probe" true 2>/dev/null || skip "strace may not trace here"
n_cases=0
for call in openat read write fsync fchmod rename flock close newfstatat fstat readlink getdents64 unlink; do
	for fault in error=EIO error=ENOSPC error=EINTR signal=KILL; do
		for n in $(seq 60); do
			rm -rf "$NEFIA_HOME" "$T/x.yaml"
			mkdir -m 700 "$NEFIA_HOME"
			cp "$T/good" "$NEFIA_HOME/nefia.yaml"
			timeout 20 strace -f -qq -o "$T/trace" -e "trace=$call" -e "inject=$call:$fault:when=$n" \
				"$NEFIA" host add x --agent-config "$T/x.yaml" >"$T/out" 2>"$T/err" </dev/null
			status=$?
			grep -Eq 'INJECTED|killed by' "$T/trace" || break
			[ $status != 127 ] || continue # the loader's
			where="$(grep -E 'INJECTED|killed by' "$T/trace"), $call $n $fault gave exit status $status"
			n_cases=$((n_cases + 1))
			"$NEFIA" host list >"$T/list" 2>"$T/err2" || fail "$where, and the configuration is broken: $(cat "$T/err2")"
			has=$(grep -c '^x ' "$T/list")
			written=0
			[ ! -e "$T/x.yaml" ] || written=1
			case $status$has$written in
			011 | 100) ;;
			# killed: a file without its host is only in the way, a host without its file would have lost its key
			13700 | 13701 | 13711) ;;
			# its last words were lost
			111) grep -q 'write(1' "$T/trace" || fail "$where: it failed, and the host is there" ;;
			*) fail "$where: host $has, file $written" ;;
			esac
		done
	done
done
echo "PASS syscalls ($n_cases faults injected)"
