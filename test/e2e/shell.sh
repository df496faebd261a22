#!/bin/bash
# nefia shell in a real terminal: keys, size, Ctrl-C, Ctrl-Z, an editor, a pager, escapes, and the terminal afterwards
. "$(dirname "$0")/lib.sh"
command -v tmux >/dev/null || skip "no tmux"
start_sshd
printf 'AcceptEnv LANG LC_*\nPrintMotd no\nPrintLastLog no\n' >>"$T/sshd/config"
hup_sshd
operator_init
add_agent web
start_agent web
start_hub

# without a terminal
expect 4 "a command without a terminal" nefia shell web 'tty; exit 4'
check "gets none" equal "$OUT" "not a tty"
expect 0 "with --tty" nefia shell --tty web 'tty; stty size'
check "gets one" contains "$OUT" "/dev/pts/"
check "of the usual size" contains "$OUT" "24 80"
got=$(printf 'a\nb\n~.\nc\n' | nefia shell web 'cat')
check "a plain stream has no escapes" equal "$got" "$(printf 'a\nb\n~.\nc')"
got=$(LC_NEFIA_TEST=here SECRET=no nefia shell web 'echo "$LC_NEFIA_TEST$SECRET"' </dev/null)
check "the locale goes along, nothing else" equal "$got" here
expect 255 "no such host" nefia shell nobody
check "is said" contains "$ERR" "[E1021]"
big=$(head -c 120000 /dev/zero | tr '\0' x)
expect 255 "more of the environment than goes at once" env LC_A="$big" LC_B="$big" LC_C="$big" "$NEFIA" shell web true
check "why: $ERR" contains "$ERR" "the session could not be begun (TERM, LANG and LC_* go with it): too long"

# in a terminal
tm() { tmux -S "$T/tmux" -f /dev/null "$@"; }
cat >"$T/rc" <<RC
PS1='local> '; PATH=$(dirname "$NEFIA"):\$PATH; cd $T
RC
tm new-session -d -x 80 -y 24 "env ENV=$T/rc NEFIA_HOME=$NEFIA_HOME LC_NEFIA_TEST=x /bin/sh -i" || fail "tmux"
more_cleanup() { tm kill-server 2>/dev/null; }
screen() { tm capture-pane -p; }
shows() { screen | grep -qE -- "$1"; }
keys() { tm send-keys "$@"; }
type_() { tm send-keys -l -- "$1"; tm send-keys Enter; }
see() { # see PATTERN "what"
	N_CHECKS=$((N_CHECKS + 1))
	wait_until 8 shows "$1" || { screen >&2; fail "$2: no $1"; }
}
runs() { wait_until 8 pgrep -u "$(id -u)" -f "^$1\$" || fail "$1 does not run there"; }
# at_prompt: the local shell has the terminal; in_raw: nefia has it. What is typed between the two may be lost.
at_prompt() { see '^local> *$' "the local prompt"; }
is_raw() { stty -F "$(tm display-message -p '#{pane_tty}')" -a | grep -q -e -icanon; }
in_raw() { wait_until 8 is_raw || fail "the terminal is not in raw mode"; }
# The terminal as the person left it: every setting compared.
enter() { # enter: into the remote shell
	tm send-keys -R
	tm clear-history
	type_ "clear; stty -g >$T/stty.before; nefia shell web"
	in_raw
	type_ "PS1='remote> '; echo in-\${SSH_CONNECTION:+42}"
	see '(^|[$] )in-42' "the remote shell" # typed ahead of it, the answer stands behind its first prompt
}
is_restored() { # after any end: the local shell has the keyboard, and the terminal is as it was
	at_prompt
	type_ "clear; echo rc=\$?; stty -g >$T/stty.after; echo local-\$((50 + 1))"
	see '^local-51' "the local shell after $1"
	check "the terminal after $1" cmp "$T/stty.before" "$T/stty.after"
}
see '^local>' "a local shell"

enter
type_ 'stty size; echo $TERM $LC_NEFIA_TEST'
see '^24 80' "the size"
see "^$(tm show-options -gv default-terminal) x" "TERM and the locale"
tm resize-window -x 100 -y 30
type_ 'stty size'
see '^30 100' "the new size"
type_ 'clear; sleep 99'
runs "sleep 99"
keys C-c
type_ 'echo rc-$?'
see '(^|> )rc-130' "Ctrl-C"
type_ 'clear; set -m; sleep 98'
runs "sleep 98"
keys C-z
see 'Stopped' "Ctrl-Z"
type_ 'kill -9 %1; clear; cat'
sleep 0.2
type_ 'echoed ~ twice'
see '^echoed ~ twice' "keys in the order typed"
keys C-d
sleep 0.3
type_ 'echo after-cat'
see '^after-cat' "Ctrl-D"

# an editor, with a resize in between, and a pager
if command -v vi >/dev/null; then
	type_ "clear; vi -u NONE -N $T/edited"
	see '^~ *$' "vi"
	keys i
	tm send-keys -l 'first line'
	tm resize-window -x 90 -y 20
	sleep 0.2
	keys Enter
	tm send-keys -l 'second ~. line'
	keys Escape
	type_ ':wq'
	check "vi wrote it" wait_until 8 grep -q 'second ~. line' "$T/edited"
	check "whole" equal "$(cat "$T/edited")" "$(printf 'first line\nsecond ~. line')"
fi
if command -v less >/dev/null; then
	type_ 'clear; seq 2000 | less'
	see '^1$' "less"
	keys G
	see '^2000$' "the end in less"
	tm send-keys -l '/^77$'
	keys Enter
	keys q
fi
type_ 'clear; echo on-$((1 + 1))'
see '^on-2' "the shell after less"

# escapes
keys Enter
tm send-keys -l '~?'
see 'end the session' "the list of escapes"
keys Enter
tm send-keys -l '~'
keys C-z
see 'Stopped|suspended' "suspended by an escape"
at_prompt
type_ "clear; stty -g >$T/stty.after; echo aside-\$((60 + 1))"
see '^aside-61' "the local shell meanwhile"
check "the terminal meanwhile" cmp "$T/stty.before" "$T/stty.after"
type_ 'fg'
in_raw
type_ 'clear; echo back-$((70 + 1))'
see '^back-71' "back in the remote shell"
type_ 'clear; exit 3'
at_prompt
type_ 'echo status-$?'
see '^status-3' "the remote status"
is_restored "exit"

enter
keys Enter
tm send-keys -l '~.'
see 'Session with web ended' "the end by an escape"
is_restored "~."

enter
pkill -TERM -u "$(id -u)" -f "^nefia shell web\$" || fail "no nefia shell"
is_restored "SIGTERM"

enter
type_ 'vi -u NONE'
see '^~ *$' "vi"
kill -9 "$HUB_PID"
see 'E1036|E1037' "the error after the hub was killed"
is_restored "kill -9 of the hub"
done_all
