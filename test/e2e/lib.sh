# test/e2e/lib.sh - a whole installation in a folder of its own: sshd, agent, hub, operator. Sourced, not run.
#
# Every test gets $T (a temporary folder), ends only processes that it started, and fails with the line that failed.
# Names: start_sshd, start_agent [NAME], setup (all of it), nefia (the CLI on this installation), check, fail, skip.
set -u
E2E_DIR=$(cd "$(dirname "$0")" && pwd)
BUILD=${BUILD:-$E2E_DIR/../../build}
NEFIA=$BUILD/nefia
AGENT=$BUILD/nefia-agent
SSHD=${NEFIA_SSHD:-$(command -v sshd || echo /usr/sbin/sshd)}
TEST_USER=${NEFIA_TEST_USER:-$(id -un)}
TEST_NAME=$(basename "$0" .sh)
PIDS=""
N_CHECKS=0
T=$(mktemp -d "${TMPDIR:-/tmp}/n.XXXXXX")
export NEFIA_HOME=$T/op XDG_STATE_HOME=$T/state
unset XDG_RUNTIME_DIR

skip() { echo "SKIP $TEST_NAME: $*"; exit 77; }

fail() {
	trap - TERM
	echo "FAIL $TEST_NAME: $*" >&2
	show_ends "$T"/*.log "$T"/*.err "$T"/*.out "$T/err" "$T/out" "$NEFIA_HOME"/hub.log >&2
	exit 1
}

# Ends what we started, agents and hubs first by TERM, then for certain. A script with more to take away defines more_cleanup: a trap
# of its own would lose the exit status, and a failure would pass.
cleanup() {
	status=$?
	trap - EXIT
	! declare -F more_cleanup >/dev/null || more_cleanup
	"$NEFIA" hub stop >/dev/null 2>&1
	for p in $PIDS; do kill "$p" 2>/dev/null; done
	for p in $PIDS; do kill -9 "$p" 2>/dev/null; done
	wait 2>/dev/null
	rm -rf "$T"
	exit $status
}
trap cleanup EXIT
trap 'exit 130' INT HUP

# Beside this file where drop.sh has put it. (Who sources it may be elsewhere: demo.sh.)
CLOCK=$(dirname "${BASH_SOURCE[0]}")/clock.sh
[ -f "$CLOCK" ] || CLOCK=$(dirname "${BASH_SOURCE[0]}")/../lib/clock.sh
. "$CLOCK"
. "${CLOCK%clock.sh}failure.sh"
[ -x "$NEFIA" ] && [ -x "$AGENT" ] || fail "programs are not built: $NEFIA, $AGENT"
[ -x "$SSHD" ] || skip "no sshd on this machine"

# A UDP and TCP port that nobody has: drawn at random below the ephemeral range, looked up in /proc. Those that were drawn
# before may not be bound yet, and a script that runs beside this one has another part of the range (run.sh says which).
free_port() {
	while :; do
		port=$((20000 + ${TEST_LANE:-0} % 4 * 3000 + SRANDOM % 3000))
		hex=$(printf ':%04X ' "$port")
		grep -q "$hex" /proc/net/udp /proc/net/udp6 /proc/net/tcp /proc/net/tcp6 2>/dev/null ||
			grep -qx "$port" "$T/ports" 2>/dev/null || break
	done
	echo "$port" | tee -a "$T/ports"
}

port_answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null || grep -q "$(printf ':%04X 00000000:0000 0A' "$1")" /proc/net/tcp; }
udp_bound() { grep -q "$(printf ':%04X ' "$1")" /proc/net/udp /proc/net/udp6; }

nefia() { "$NEFIA" "$@"; }

check() { # check "what" COMMAND...
	what=$1
	shift
	N_CHECKS=$((N_CHECKS + 1))
	"$@" || fail "$what"
}
equal() { [ "$1" = "$2" ] || { echo "expected \"$2\", got \"$1\"" >&2; return 1; }; }
contains() { case $1 in *"$2"*) ;; *) echo "expected \"$2\" in: $1" >&2; return 1 ;; esac; }

# expect STATUS "what" COMMAND... : output in $OUT, $ERR
expect() {
	want=$1 what=$2
	shift 2
	N_CHECKS=$((N_CHECKS + 1))
	"$@" >"$T/out" 2>"$T/err" </dev/null
	got=$?
	OUT=$(cat "$T/out") ERR=$(cat "$T/err")
	[ "$got" -eq "$want" ] || fail "$what: exit status $got, expected $want. stdout: $OUT stderr: $ERR"
}

done_all() { echo "PASS $TEST_NAME ($N_CHECKS checks, $(($(now_ms) - STARTED)) ms)"; exit 0; }
STARTED=$(now_ms)

# need_python: sets $TRAFFIC; test/lib/traffic.py is checked byte by byte, which no shell can do
need_python() {
	command -v python3 >/dev/null || skip "python3 is not installed"
	TRAFFIC=$E2E_DIR/traffic.py
	[ -f "$TRAFFIC" ] || TRAFFIC=$E2E_DIR/../lib/traffic.py
}

start_sshd() {
	mkdir -p "$T/sshd"
	chmod 700 "$T/sshd"
	[ -f "$T/sshd/host_key" ] || ssh-keygen -q -t ed25519 -N '' -f "$T/sshd/host_key" </dev/null
	[ -f "$T/id" ] || ssh-keygen -q -t ed25519 -N '' -f "$T/id" </dev/null
	cp "$T/id.pub" "$T/sshd/authorized_keys"
	: "${SSH_PORT:=$(free_port)}"
	sftp=internal-sftp
	cat >"$T/sshd/config" <<CONF
Port $SSH_PORT
ListenAddress 127.0.0.1
HostKey $T/sshd/host_key
AuthorizedKeysFile $T/sshd/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
MaxStartups 100
MaxSessions 100
Subsystem sftp $sftp
# What the user's shell does at a login is not under test.
SetEnv HOME=$T/sshd
CONF
	# OpenSSH from 9.8 on soon takes nothing more from an address that failed to log in, and all that an agent calls is called from
	# loopback. One test is about that; the others do in a second what people do in a week.
	! "$SSHD" -T -f "$T/sshd/config" -o PerSourcePenalties=no >/dev/null 2>&1 || echo 'PerSourcePenalties no' >>"$T/sshd/config"
	# As root sshd wants its folder, which only its service makes.
	[ "$(id -u)" != 0 ] || mkdir -p -m 755 /run/sshd
	"$SSHD" -D -e -f "$T/sshd/config" >>"$T/sshd.log" 2>&1 &
	SSHD_PID=$!
	PIDS="$PIDS $SSHD_PID"
	wait_until 5 port_answers "$SSH_PORT" || fail "sshd does not listen"
}

# hup_sshd: its configuration is read again; the old one still listens for a moment
hup_sshd() {
	begun=$(grep -c '^Server listening' "$T/sshd.log")
	kill -HUP "$SSHD_PID"
	wait_until 5 sh -c "[ \$(grep -c '^Server listening' '$T/sshd.log') -gt $begun ]" || fail "sshd does not come back"
}

stop_sshd() {
	kill "$SSHD_PID" 2>/dev/null
	wait "$SSHD_PID" 2>/dev/null
	! port_answers "$SSH_PORT" || fail "sshd still listens"
}

# set_yaml FILE KEY VALUE: change a key wherever it stands, or add it at the top level
set_yaml() {
	if grep -q "^[ -]*$2:" "$1"; then
		sed -i "s|^\([ -]*\)$2:.*|\1$2: $3|" "$1"
	else
		echo "$2: $3" >>"$1"
	fi
}

operator_init() {
	HUB_PORT=$(free_port)
	nefia init >"$T/init.out" 2>&1 || fail "nefia init: $(cat "$T/init.out")"
	set_yaml "$NEFIA_HOME/nefia.yaml" listen_port "$HUB_PORT"
	chmod 600 "$NEFIA_HOME/nefia.yaml"
}

# add_agent NAME: a host entry and its agent's configuration
add_agent() {
	eval "AGENT_PORT_$1=\$(free_port)"
	eval "port=\$AGENT_PORT_$1"
	mkdir -p "$T/$1"
	chmod 700 "$T/$1"
	nefia host add "$1" --endpoint "127.0.0.1:$port" --user "$TEST_USER" --identity "$T/id" \
		--agent-config "$T/$1/agent.yaml" >"$T/add.out" 2>&1 || fail "nefia host add $1: $(cat "$T/add.out")"
	set_yaml "$T/$1/agent.yaml" listen_port "$port"
	set_yaml "$T/$1/agent.yaml" ssh_addr "127.0.0.1:$SSH_PORT"
	chmod 600 "$T/$1/agent.yaml"
}

start_agent() { # start_agent NAME; its process id in $AGENT_PID
	"$AGENT" run --config "$T/$1/agent.yaml" >>"$T/agent-$1.log" 2>&1 &
	AGENT_PID=$!
	PIDS="$PIDS $AGENT_PID"
	eval "port=\$AGENT_PORT_$1"
	wait_until 5 udp_bound "$port" || fail "the agent $1 does not start"
}

stop_pid() { # stop_pid PID [SIGNAL]
	kill "-${2:-TERM}" "$1" 2>/dev/null
	wait "$1" 2>/dev/null
	return 0
}

# kill_twice PID [SIGNAL]: the second one when the first has arrived; two that wait for a busy machine would be one
kill_twice() {
	kill "-${2:-TERM}" "$1"
	wait_until 5 none_pending "$1"
	kill "-${2:-TERM}" "$1" 2>/dev/null
	return 0
}
none_pending() { ! grep -q '^ShdPnd:.*[1-9a-f]' "/proc/$1/status"; }

# hold_when PID SECONDS COMMAND... : PID (an agent, through which everything goes) is let run for moments only until COMMAND
# is true, and then stands still: what is on its way cannot be over before it was seen. kill -CONT lets it go on.
hold_when() {
	local pid=$1 end=$(($(calm_ms) + $2 * 1000)) hang=$((EPOCHSECONDS + HANG_S))
	shift 2
	[ -p "$T/never" ] || mkfifo "$T/never"
	exec {never}<>"$T/never"
	while kill -STOP "$pid" && ! "$@" >/dev/null 2>&1 && [ "$(calm_ms)" -lt "$end" ] && [ "$EPOCHSECONDS" -lt "$hang" ]; do
		kill -CONT "$pid"
		read -r -t 0.02 -u "$never" # sleeps, and starts no program that would have to wait
	done
	exec {never}>&-
	"$@" >/dev/null 2>&1
}

start_hub() {
	"$NEFIA" hub >>"$T/hub.log" 2>&1 &
	HUB_PID=$!
	PIDS="$PIDS $HUB_PID"
	wait_until 5 test -S "$NEFIA_HOME/run/hub.sock" || fail "the hub does not start"
}

restart_hub() {
	"$NEFIA" hub stop >/dev/null || fail "hub stop"
	start_hub
}

setup() { # sshd, one agent "web", no hub
	start_sshd
	operator_init
	add_agent web
	start_agent web
}
