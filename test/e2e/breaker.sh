#!/bin/bash
# the circuit breaker: opens after five failures in a row, says so everywhere, lets one probe through, closes; a kept
# connection that is dead keeps nobody waiting
. "$(dirname "$0")/lib.sh"
setup
add_agent db
start_agent db
start_hub
json() { nefia vpn status --json | python3 -c "
import json, sys
for p in json.load(sys.stdin)['peers']:
    if p['host'] == '$1':
        b = p.get('ssh_breaker')
        print(b and b['$2'])"; }
need_python

expect 0 "all is well" nefia exec --target web -- true
check "nothing to say" equal "$(json web state)" None
stop_sshd
for p in $(pgrep -u "$(id -u)" -f "sshd.*priv|sshd: $TEST_USER" | grep -vx $$); do
	grep -q "$T" "/proc/$p/environ" 2>/dev/null && kill "$p"
done
"$NEFIA" hub stop >/dev/null
start_hub
for i in 1 2 3 4 5; do expect 255 "failure $i" nefia exec --target web -- true; done
check "as such" contains "$ERR" "[E1032]"
begin=$(calm_ms)
expect 255 "refused" nefia exec --target web -- true
check "its code" contains "$ERR" "[E1038]"
check "the reason" contains "$ERR" "after 5 failures in a row: no SSH server answers there"
check "the next step" contains "$ERR" "nefia hub retry web"
check "at once ($(($(calm_ms) - begin)) ms)" test $(($(calm_ms) - begin)) -lt 1000
check "in the log" grep -q "circuit_breaker_open host=web failures=5 reason=ERR_REFUSED next_attempt_s=10" "$NEFIA_HOME/hub.log"
check "once" equal "$(grep -c circuit_breaker_open "$NEFIA_HOME/hub.log")" 1
expect 0 "in the status" nefia vpn status
check "with reason and time" contains "$OUT" "ssh: circuit breaker open after 5 failures in a row: no SSH server answers there; next attempt in "
check "in JSON" equal "$(json web state) $(json web failures) $(json web reason)" "open 5 ERR_REFUSED"
check "the time" test "$(json web next_attempt_s)" -gt 0
check "the other host is closed" equal "$(json db state)" None
expect 1 "a file transfer is refused too" nefia fs get web:/etc/passwd "$T/x"
check "with the same code" contains "$ERR" "[E1038]"

# a probe that fails doubles the rest; several at once are one probe
expect 0 "by hand" nefia hub retry web
check "says so" equal "$OUT" "web: the next command tries at once"
expect 0 "once more" nefia hub retry
check "nothing rests" equal "$OUT" "No host rests"
expect 1 "an unknown host" nefia hub retry nobody
check "its code" contains "$ERR" "[E1021]"
for i in 1 2 3 4 5; do nefia exec --target web -- true 2>/dev/null; done
check "open again" equal "$(json web state)" open
start_sshd
begin=$(now_ms) calm=$(calm_ms)
wait_until 14 nefia exec --target web -- true || fail "it does not close by itself"
took=$(($(now_ms) - begin))
check "not before its time ($took ms)" test $took -gt 7000
check "soon after it" test $(($(calm_ms) - calm)) -lt 13000
check "is said" grep -q "circuit_breaker_closed host=web" "$NEFIA_HOME/hub.log"
check "and forgotten" equal "$(json web state)" None

# a wrong login counts as well; a corrected configuration is tried at once
cp "$T/sshd/authorized_keys" "$T/keys"
: >"$T/sshd/authorized_keys"
for i in 1 2 3 4 5; do nefia exec --target db -- true 2>"$T/err"; done
check "a login refused" contains "$(cat "$T/err")" "[E1034]"
expect 255 "rests" nefia exec --target db -- true
check "for that reason" contains "$ERR" "the server refused the login"
cp "$T/keys" "$T/sshd/authorized_keys"
ssh-keygen -q -t ed25519 -N '' -f "$T/id2" </dev/null
cat "$T/id2.pub" >>"$T/sshd/authorized_keys"
sed -i "/id: db/,\$s|$T/id'|$T/id2'|" "$NEFIA_HOME/nefia.yaml"
expect 0 "another identity is tried at once" nefia exec --target db -- true

# the warning of a changed host key is seen every time
"$NEFIA" hub stop >/dev/null
ssh-keygen -q -t ed25519 -N '' -f "$T/other" </dev/null
sed -i "s|\(web.nefia[^ ]* ssh-ed25519\) .*|\1 $(cut -d' ' -f2 "$T/other.pub")|" "$NEFIA_HOME/known_hosts"
start_hub
for i in 1 2 3 4 5 6 7; do nefia exec --target web -- true 2>"$T/err"; done
check "still the warning" contains "$(cat "$T/err")" "[E1033]"
rm "$NEFIA_HOME/known_hosts"
expect 0 "repaired: at once" nefia exec --target web -- true

# The server's process of the kept connection hangs: the next command takes another, soon.
sleep 2.2
for p in $(pgrep -P "$SSHD_PID"); do for p in $p $(pgrep -P "$p"); do kill -STOP "$p"; STOPPED="${STOPPED:-} $p"; done; done
begin=$(now_ms) calm=$(calm_ms)
expect 0 "past a dead connection" nefia exec --target web -- true
took=$(($(now_ms) - begin)) calm=$(($(calm_ms) - calm))
for p in $STOPPED; do kill -CONT "$p"; done
check "in bounded time ($took ms)" test $calm -lt 6000
check "and not by luck ($took ms)" test $took -ge 2900
[ -n "${LONG:-}" ] || done_all

# Nobody uses it: found all the same, within 45 s.
"$NEFIA" hub stop >/dev/null
start_hub
expect 0 "a kept connection" nefia exec --target web -- true
to_sshd() { cat /proc/net/tcp | awk -v p="$(printf ':%04X' "$SSH_PORT")" '$3 ~ p && $4 == "01"' | wc -l; }
none_to_sshd() { [ "$(to_sshd)" = 0 ]; }
check "it stands" test "$(to_sshd)" -ge 1
for p in $(pgrep -P "$SSHD_PID"); do for p in $p $(pgrep -P "$p"); do kill -STOP "$p"; STOPPED="$STOPPED $p"; done; done
begin=$(now_ms) calm=$(calm_ms)
check "a dead idle connection is closed" wait_until 60 none_to_sshd
took=$(($(now_ms) - begin)) calm=$(($(calm_ms) - calm))
for p in $STOPPED; do kill -CONT "$p" 2>/dev/null; done
check "in its time ($took ms)" test $took -ge 30000 -a $calm -lt 48000
done_all
