#!/bin/bash
# Places that forbid much: kernels and containers whose system calls are refused, few descriptors, few addresses. What cannot work there
# says so; the rest works.
. "$(dirname "$0")/lib.sh"
need_python
REFUSE=$(dirname "$TRAFFIC")/refuse.py
python3 "$REFUSE" ENOSYS openat2 -- true || skip "no seccomp filter of our own here: $(python3 "$REFUSE" ENOSYS openat2 -- true 2>&1 | tail -1)"
start_sshd
operator_init
add_agent web
head -c 3000000 /dev/urandom >"$T/data"

# place NAME COMMAND... : agent, hub and commands run there, and do what they are for
place() {
	local name=$1
	shift
	"$@" "$AGENT" run --config "$T/web/agent.yaml" --log-file - >>"$T/agent-web.log" 2>&1 &
	AGENT_PID=$!
	PIDS="$PIDS $AGENT_PID"
	wait_until 10 udp_bound "$AGENT_PORT_web" || fail "$name: the agent does not start"
	"$@" "$NEFIA" hub >>"$T/hub.log" 2>&1 &
	HUB_PID=$!
	PIDS="$PIDS $HUB_PID"
	wait_until 10 test -S "$NEFIA_HOME/run/hub.sock" || fail "$name: the hub does not start"
	expect 0 "$name: exec" "$@" "$NEFIA" exec --target web -- 'echo from there'
	check "$name: its output" equal "$OUT" "from there"
	expect 0 "$name: put" "$@" "$NEFIA" fs put -q "$T/data" "web:$T/there"
	expect 0 "$name: get" "$@" "$NEFIA" fs get -q "web:$T/there" "$T/back"
	check "$name: what came back" cmp "$T/data" "$T/back"
	expect 0 "$name: status" "$@" "$NEFIA" vpn status --live --ping
	expect 0 "$name: several at once" "$@" bash -c 'for i in 1 2 3 4 5 6; do "$0" exec --target web -- true & p="$p $!"; done
		for i in $p; do wait $i || exit; done' "$NEFIA"
	expect 0 "$name: hub stop" "$@" "$NEFIA" hub stop
	expect 0 "$name: a hub of its own" "$@" "$NEFIA" exec --target web -- true
	wait_until 5 test ! -S "$NEFIA_HOME/run/hub.sock" || fail "$name: the command's own hub stays"
	stop_pid $AGENT_PID
	rm -f "$T/there" "$T/back"
	echo "$name"
}

# Under ASan what its own runtime cannot do without is not taken away: limits it may read, /proc, terabytes of addresses.
sanitized() { grep -qa __asan_init "$NEFIA"; }

# ---- calls that are not there, or not allowed
NEWER="io_uring_setup epoll_pwait2 openat2 close_range clone3 memfd_create statx renameat2 copy_file_range rseq
	userfaultfd membarrier landlock_create_ruleset faccessat2 preadv2 pwritev2"
place "newer calls, not there" python3 "$REFUSE" ENOSYS $NEWER --
place "newer calls, not allowed" python3 "$REFUSE" EPERM $NEWER --
place "no UDP options (GSO, GRO)" python3 "$REFUSE" ENOPROTOOPT setsockopt:1=17 --
sanitized || place "no scheduling, no limits" python3 "$REFUSE" EPERM sched_setaffinity sched_setscheduler setpriority setrlimit prlimit64 mlock mlock2 mlockall --
place "no netlink" python3 "$REFUSE" EPERM socket:0=16 --
place "no IPv6" python3 "$REFUSE" EAFNOSUPPORT socket:0=10 --
place "no inotify" python3 "$REFUSE" ENOSYS inotify_init inotify_init1 --

# ---- without /proc: in a name space of the user's own, where the kernel lets users have one
cat >"$T/noproc" <<'SH'
#!/bin/sh
exec unshare -c -m --keep-caps sh -c 'mount -t tmpfs none /proc && exec setpriv --inh-caps=-all --ambient-caps=-all "$@"' sh "$@"
SH
chmod +x "$T/noproc"
if sanitized; then
	echo "no /proc: not tried: LeakSanitizer reads there"
elif "$T/noproc" true 2>"$T/why"; then
	place "no /proc" "$T/noproc"
else
	echo "no /proc: not tried: $(head -n 1 "$T/why")"
fi

# What cannot work says why: an agent needs no process descriptors, an operator does.
"$AGENT" run --config "$T/web/agent.yaml" --log-file - >>"$T/agent-web.log" 2>&1 &
AGENT_PID=$!
PIDS="$PIDS $AGENT_PID"
for errno in ENOSYS EPERM; do
	expect 255 "no process descriptors, $errno" timeout 20 python3 "$REFUSE" $errno pidfd_open -- "$NEFIA" exec --target web -- true
	check "which call: $ERR" contains "$ERR" "pidfd_open is refused here"
	wait_until 5 test ! -S "$NEFIA_HOME/run/hub.sock" || fail "its hub stays"
done
# Nobody's bytes are read outside of the sandbox. (Under ASan there is none, see os/proc.c.)
if ! sanitized; then
	expect 255 "no sandbox" timeout 20 python3 "$REFUSE" EPERM seccomp prctl:0=22 -- "$NEFIA" exec --target web -- true
	check "sent to the log" contains "$ERR" "nefia hub logs"
	check "which says why" grep -q "sandbox is refused here" "$NEFIA_HOME/hub.log"
	wait_until 5 test ! -S "$NEFIA_HOME/run/hub.sock" || fail "its hub stays"
fi
stop_pid $AGENT_PID

# ---- a file that cannot be read to its end is not passed on as a shorter one
start_agent web
expect 255 "an input that cannot be read" python3 "$REFUSE" EIO pread64:2=65536 -- "$NEFIA" exec --target web --stdin "$T/data" -- "cat >$T/half; touch $T/went_on"
check "says so: $ERR" contains "$ERR" "web: its input could not be read: Input/output error"
check "the command does not go on" test ! -e "$T/went_on"
mkdir "$T/tree"
touch "$T/tree/a" "$T/tree/b"
expect 1 "a folder that cannot be listed" python3 "$REFUSE" EIO getdents64 -- "$NEFIA" fs put -r "$T/tree" "web:$T/partly"
check "which: $ERR" contains "$ERR" "$T/tree: Input/output error"
"$NEFIA" hub stop >/dev/null 2>&1
stop_pid $AGENT_PID

# ---- limits
# A program, not a function: what is started in the background is to be the one that is ended.
printf '#!/bin/bash\nulimit "$1" "$2" && shift 2 && exec "$@"\n' >"$T/limited"
chmod +x "$T/limited"
place "64 descriptors" "$T/limited" -n 64
sanitized || place "384 MiB of addresses" "$T/limited" -v 393216
expect 255 "a dozen descriptors" "$T/limited" -n 12 "$NEFIA" exec --target web -- true
check "which limit" contains "$ERR" "(ulimit -u, ulimit -n)"

# No more processes: not while workers are started one by one, nor where they are forked. The hub alone has the limit.
start_agent web
"$T/limited" -u 1 "$NEFIA" hub >>"$T/hub.log" 2>&1 &
HUB_PID=$!
PIDS="$PIDS $HUB_PID"
wait_until 10 test -S "$NEFIA_HOME/run/hub.sock" || fail "the hub does not start without processes"
if [ "$(id -u)" != 0 ]; then # root has no such limit
	expect 255 "no process for a worker" nefia exec --target web -- true
	check "which limit" contains "$ERR" "no more processes or descriptors are allowed (ulimit -u"
fi
done_all
