#!/bin/bash
# fifty hosts at once: in about the time of the slowest, although sshd drops connections at random (MaxStartups)
. "$(dirname "$0")/lib.sh"
N=50
start_sshd
# sshd's own default, which lib.sh lifts
sed -i 's/^MaxStartups.*/MaxStartups 10:30:100/' "$T/sshd/config"
hup_sshd
operator_init
for i in $(seq $N); do add_agent "h$i"; start_agent "h$i"; done
start_hub

begin=$(now_ms) # by the wall, which is never less: the others are compared with it
expect 0 "one host" nefia exec --target h1 -- sleep 1
one=$(($(now_ms) - begin))
# As many as there may be before it drops any are there already: how fast the others come does not matter.
for i in $(seq 10); do exec {fd}<>"/dev/tcp/127.0.0.1/$SSH_PORT" || fail "an idle connection"; fds="${fds:-} $fd"; done
begin=$(calm_ms)
expect 0 "fifty, cold" nefia exec --target all -- 'sleep 1; echo out-of-$$'
cold=$(($(calm_ms) - begin))
for fd in $fds; do exec {fd}>&-; done
check "each said its word once" equal "$(printf '%s\n' "$OUT" | grep -c ': out-of-')" $N
check "under its own name" equal "$(printf '%s\n' "$OUT" | cut -d: -f1 | sort -u | wc -l)" $N
check "the summary" contains "$ERR" "$N hosts, $N succeeded"
begin=$(calm_ms)
expect 0 "fifty, with connections kept" nefia exec --target all -- sleep 1
warm=$(($(calm_ms) - begin))
check "cold: at most six times one ($cold ms, one $one ms)" test "$cold" -le $((6 * one))
check "warm: at most twice one ($warm ms, one $one ms)" test "$warm" -le $((2 * one))
# MaxStartups must have bitten, or nothing was tried
check "sshd dropped some" grep -qi 'drop connection\|MaxStartups' "$T/sshd.log"

expect 0 "five at a time" nefia exec --target all --parallel 5 --json -- true
check "fifty objects" equal "$(printf '%s\n' "$OUT" | grep -c '"exit":0')" $N
echo "one $one ms, fifty cold $cold ms, fifty warm $warm ms"
done_all
