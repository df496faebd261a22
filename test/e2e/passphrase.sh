#!/bin/bash
# passphrases of keys, asked for in a real terminal
. "$(dirname "$0")/lib.sh"
command -v tmux >/dev/null || skip "tmux is not installed"
unset SSH_AUTH_SOCK SSH_AGENT_PID
setup
mkdir "$T/keys"
K=$T/keys
YAML=$NEFIA_HOME/nefia.yaml
ssh-keygen -q -t ed25519 -N "open sesame" -f "$K/locked" </dev/null
ssh-keygen -q -t rsa -b 2048 -m PKCS8 -N "open sesame" -f "$K/locked_pem" </dev/null
let_in() { cat "$@" >"$T/sshd/authorized_keys"; }
as() { # as ID...: these identities for the host
	local list=
	for i; do list="$list${list:+, }$i"; done
	sed -i '/identity:/d; s|^  identities:.*|  identities: ['"$list"']|' "$YAML"
	nefia hub reload >/dev/null 2>&1
}
start_hub

tm() { tmux -S "$T/tmux.sock" -f /dev/null "$@"; }
more_cleanup() { tm kill-server 2>/dev/null; }
tm new-session -d -x 180 -y 40 "env -u SSH_AUTH_SOCK NEFIA_HOME='$NEFIA_HOME' PS1='ready> ' sh" || fail "tmux"
shows() { tm capture-pane -p | grep -qF -- "$1"; }
wait_shows() { wait_until 15 shows "$1" || fail "the terminal does not show '$1': $(tm capture-pane -p | grep .)"; }
keys() { tm send-keys "$@"; }
is_empty() { [ "$(tm capture-pane -p | grep .)" = "ready>" ]; }
is_raw() { stty -F "$(tm display-message -p '#{pane_tty}')" -a | grep -q -e -icanon; }
fresh() { # a hub that knows no passphrase, an empty screen
	nefia hub stop >/dev/null 2>&1; wait "$HUB_PID" 2>/dev/null; start_hub
	keys "clear; tmux -S $T/tmux.sock clear-history" Enter
	wait_until 15 is_empty || fail "the terminal is not cleared: $(tm capture-pane -p | grep .)"
}
let_in "$K/locked.pub" "$K/locked_pem.pub"
DEEP=$K/$(printf 'd%.0s' $(seq 250))
mkdir "$DEEP" && cp "$K/locked" "$K/locked.pub" "$DEEP"
as "$DEEP/locked"
fresh
keys "$NEFIA exec --target web -- echo deep" Enter
wait_shows "dd/locked'"
keys "open sesame" Enter
wait_shows deep
as "$K/locked"
fresh
keys "$NEFIA exec --target web -- echo well done; echo status \$?" Enter
wait_shows "Passphrase for key '$K/locked':"
keys "open sesamE" Enter
wait_shows "Wrong passphrase. Passphrase for key '$K/locked':"
keys "open sesame" Enter
wait_shows "status 0"
check "its output" shows "well done"
check "it was not echoed" bash -c "! tmux -S '$T/tmux.sock' capture-pane -p -S - | grep -qi sesam"
expect 0 "the next one is not asked" setsid -w "$NEFIA" exec --target web -- true
for p in $(pgrep -P "$HUB_PID"); do kill -9 "$p"; done
expect 0 "nor is another worker" setsid -w "$NEFIA" exec --target web -- true

fresh
keys "$NEFIA exec --target web -- true; echo status \$?" Enter
for i in 1 2 3; do
	wait_until 15 bash -c "[ \$(tmux -S '$T/tmux.sock' capture-pane -p | grep -c 'Passphrase for') = $i ]" || fail "question $i"
	keys "wrong $i" Enter
done
wait_shows "status 255"
check "three times" shows "wrong passphrase, three times"

fresh
keys "$NEFIA exec --target web -- true; echo status \$?" Enter
wait_shows "Passphrase for key"
keys C-c
wait_shows "status 130"
keys "stty -a | grep -o ' .echo '; echo look''ed" Enter
wait_shows "looked"
check "the echo is back" bash -c "! tmux -S '$T/tmux.sock' capture-pane -p | grep -q -- '^ -echo'"
keys "echo visible" Enter
wait_shows "ready> echo visible"

fresh
keys "$NEFIA shell web" Enter
wait_shows "Passphrase for key"
keys "open sesame" Enter
wait_until 15 is_raw || fail "no shell"
keys "echo in a \$((6 * 7)) shell" Enter
wait_shows "in a 42 shell"
keys "exit" Enter

# Batch: nobody is asked although there is a terminal. PKCS#8 hides its public half: asked before it is shown.
mv "$K/locked_pem.pub" "$K/locked_pem.pub.away"
as "$K/locked_pem"
fresh
keys "$NEFIA --batch exec --target web -- true; echo status \$?" Enter
wait_shows "status 255"
check "batch says why" shows "it needs a passphrase"
fresh
keys "$NEFIA exec --target web -- true; echo status \$?" Enter
wait_shows "Passphrase for key '$K/locked_pem':"
keys "open sesame" Enter
wait_shows "status 0"

# Files: asked before the session, which could not.
fresh
keys "$NEFIA fs get web:/etc/hostname $T/got; echo status \$?" Enter
wait_shows "Passphrase for key"
keys "open sesame" Enter
wait_shows "status 0"
check "the file is there" cmp /etc/hostname "$T/got"

# Many hosts, one question.
for h in web2 web3 web4; do add_agent $h; start_agent $h; sed -i '/identity:/d' "$YAML"; done
as "$K/locked"
fresh
keys "$NEFIA exec --target all -- echo from; echo status \$?" Enter
wait_shows "Passphrase for key"
keys "open sesame" Enter
wait_shows "status 0"
check "one question for four" equal "$(tm capture-pane -p | grep -c 'Passphrase for')" 1

# A forward asks before it listens.
lp=$(free_port)
fresh
keys "$NEFIA forward web $lp:127.0.0.1:$SSH_PORT" Enter
wait_shows "Passphrase for key"
keys "open sesame" Enter
wait_until 10 port_answers "$lp" || fail "the forward does not listen"
check "it forwards" equal "$(timeout 10 head -c 4 <"/dev/tcp/127.0.0.1/$lp")" SSH-
keys C-c

check "no passphrase in any log" bash -c "! grep -qi sesam '$T'/*.log '$NEFIA_HOME'/hub.log"
check "nor in any file of ours" bash -c "! grep -rqi sesam '$NEFIA_HOME'"
done_all
