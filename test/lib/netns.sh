# test/lib/netns.sh - what scripts with network namespaces of their own begin with. Sourced, after
#   TEST_NAME   of the script
#   NAMESPACES  their names, unique to this run; what runs in them is killed at the end
#   LOGS        files under $T, patterns, whose ends are shown when it fails
#   NEEDS       programs; one that is missing is a skip
# Gives $T, a folder that goes at the end, and the namespaces with loopback up. A script that makes more than that defines
# more_logs (what else is shown when it fails) and more_cleanup (what else is taken away).
T=
N_CHECKS=0
skip() { echo "SKIP $TEST_NAME: $*"; exit 77; }
fail() {
	echo "FAIL $TEST_NAME: $*"
	trap - TERM
	[ -z "$T" ] || (cd "$T" && show_ends $LOGS)
	! declare -F more_logs >/dev/null || more_logs
	exit 1
}
ok() { N_CHECKS=$((N_CHECKS + 1)); echo "$*"; }
cleanup() {
	status=$?
	trap - EXIT
	! declare -F more_cleanup >/dev/null || more_cleanup
	for ns in $NAMESPACES; do
		ip netns pids $ns 2>/dev/null | xargs -r kill -9 2>/dev/null
		ip netns del $ns 2>/dev/null
	done
	[ -z "$T" ] || rm -rf "$T"
	exit $status
}
LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$LIB/clock.sh"
. "$LIB/failure.sh"
until_true() { wait_until "$@"; }
PATH=$PATH:/usr/sbin:/sbin
[ "$(id -u)" = 0 ] || skip "needs root for network namespaces"
for tool in ip $NEEDS; do command -v $tool >/dev/null || skip "$tool is not installed"; done
trap cleanup EXIT
trap 'exit 130' INT HUP
T=$(mktemp -d "/tmp/nefia-$TEST_NAME.XXXXXX")
for ns in $NAMESPACES; do ip netns add $ns || skip "no network namespaces here"; ip -n $ns link set lo up; done
