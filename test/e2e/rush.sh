#!/bin/bash
# fifty hosts at once, hard: an sshd that lets three in at a time and drops four of five of the others, a host that is dead, a script on
# all of them whose nefia is killed, Ctrl-C on all of them
. "$(dirname "$0")/lib.sh"
N=50
start_sshd
sed -i 's/^MaxStartups.*/MaxStartups 1:80:3/' "$T/sshd/config"
hup_sshd
operator_init
for i in $(seq $N); do add_agent "h$i"; start_agent "h$i"; done
DEAD=$AGENT_PID
start_hub

# Dropped at random, retried within the deadline; each ran once.
begin=$(now_ms)
expect 0 "all, through the eye of a needle" nefia exec --target all --timeout 60s --output-dir "$T/o" -- 'sleep 1; echo $$'
took=$(($(now_ms) - begin))
check "each ran once, into its own file" equal "$(cat "$T"/o/*.stdout | sort -u | wc -l)" $N
check "sshd dropped many ($took ms)" test "$(grep -c 'drop connection\|beginning MaxStartups' "$T/sshd.log")" -ge 1
check "no breaker opened" equal "$(grep -c circuit_breaker "$NEFIA_HOME/hub.log")" 0

# In about the time of the slowest, in order, with the connections that are kept.
begin=$(calm_ms)
expect 0 "warm, the first is the slowest" nefia exec --target all --ordered -- "mkdir $T/first 2>/dev/null && sleep 1.5 || sleep 0.5; echo done"
took=$(($(calm_ms) - begin))
check "the time of the slowest ($took ms)" test $took -lt 2400
check "in order" equal "$(printf '%s\n' "$OUT" | sed 's/:.*//' | tr '\n' ' ')" "$(seq -f 'h%g' $N | tr '\n' ' ')"

# One is dead: the others do not wait for it, and its failures are its own.
stop_pid "$DEAD" KILL
"$NEFIA" hub stop >/dev/null
sed -i 's/^MaxStartups.*/MaxStartups 100/' "$T/sshd/config"
hup_sshd
start_hub
begin=$(now_ms) calm=$(calm_ms)
expect 1 "one is dead" nefia exec --target all -- "bash -c '. $CLOCK; calm_ms'"
last=$(printf '%s\n' "$OUT" | sed 's/.*: //' | sort -n | tail -1)
check "all others answered" equal "$(printf '%s\n' "$OUT" | wc -l)" $((N - 1))
check "the last of them soon ($((last - calm)) ms)" test $((last - calm)) -lt 6000
check "the dead one took its time" test $(($(now_ms) - begin)) -ge 9000

# A script on all, and nefia is killed: no file was ever made, and nothing goes on.
MARK=mark-$$-$RANDOM-$RANDOM NAP=$$$RANDOM
printf '#!/bin/sh\n# '"$MARK"'\necho $$ >>%s/pids\nfor i in 1 2 3 4; do sleep 63.%s; done\n' "$T" "$NAP" >"$T/script"
"$NEFIA" exec --target "$(seq -s, -f 'h%g' 1 20)" --script "$T/script" >"$T/killed" 2>&1 &
pid=$!
check "all run" wait_until 10 sh -c "[ \$(cat '$T/pids' | wc -l) = 20 ]"
copies() { find /tmp /var/tmp "$HOME" -xdev -user "$(id -u)" -newer "$T/script" -type f -size -8k -exec grep -lsF "$MARK" {} + 2>/dev/null; }
check "no file for it" equal "$(copies)" ""
kill -9 $pid
wait $pid 2>/dev/null
gone() { for p in $(cat "$T/pids"); do kill -0 "$p" 2>/dev/null && return 1; done; true; }
check "nothing runs on" wait_until 5 gone
check "nothing sleeps on" wait_until 3 sh -c "! pgrep -u $(id -u) -f '^sleep 63.$NAP\$' >/dev/null"

# Ctrl-C: the first ends the commands, the second leaves at once.
: >"$T/pids"
"$NEFIA" exec --target "$(seq -s, -f 'h%g' 1 20)" -- "trap '' INT TERM; echo \$\$ >>$T/pids; while :; do sleep 0.3; done" >"$T/int" 2>&1 &
pid=$!
check "all run" wait_until 10 sh -c "[ \$(cat '$T/pids' | wc -l) = 20 ]"
kill -INT $pid
wait_until 5 none_pending $pid
begin=$(calm_ms)
kill -INT $pid
wait $pid
check "twice" equal $? 130
check "leaves at once" test $(($(calm_ms) - begin)) -lt 500
kill -9 $(cat "$T/pids") 2>/dev/null
done_all
