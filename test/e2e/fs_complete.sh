#!/bin/bash
# Tab after HOST:PATH, typed in real shells in a terminal: names come from the host, quoted so that the command finds them; without
# a hub nothing comes, at once and without a word
. "$(dirname "$0")/lib.sh"
command -v tmux >/dev/null || skip "tmux is not installed"
setup
start_hub
D=$T/far
mkdir -p "$D/sub dir" "$T/home"
echo "text of one" >"$D/one file"
echo "text inside" >"$D/sub dir/in side.txt"
echo "text of star" >"$D/star*[x]\$(id)"
echo "text of colon" >"$D/co:lon"
echo "text of hidden" >"$D/.hidden"
echo "text of two lines" >"$D/two
lines"
ln -s "sub dir" "$D/way"
nefia exec --target web -- true >/dev/null 2>&1 || fail "no exec"

words() { nefia completion "$@" 2>&1; }
check "hosts" equal "$(words --words fs ls we)" "web:"
check "folders and files" equal "$(words --words fs ls "web:$D/")" "$(printf "web:$D/%s\n" 'co:lon' 'one\ file' \
	'star\\\*\\\[x]\$\(id\)' 'sub\ dir/' 'way/' | sed 's/x\]/x\\]/' | sort)"
check "plain" equal "$(words --plain-words fs ls "web:$D/o")" "web:$D/one file"
check "where names are taken as they are" equal "$(words --plain-words fs mkdir "web:$D/star*")" "web:$D/star*[x]\$(id)"
check "hidden ones when asked for" equal "$(words --words fs ls "web:$D/.h")" "web:$D/.hidden"
check "the login folder" equal "$(cd && words --plain-words fs ls "web:~/.ss" | grep -c '^web:~/.ssh/$')" "$(ls -d ~/.ssh 2>/dev/null | wc -l)"
check "nothing there" equal "$(words --words fs ls "web:$D/none/")" ""
check "no such host" equal "$(words --words fs ls nobody:/)" ""

# A failure leaves no terminals behind either.
more_cleanup() { tmux -S "$T/tmux" kill-server 2>/dev/null; }
tm() { tmux -S "$T/tmux" -f /dev/null "$@"; }
screen() { tm capture-pane -p -J -t "$SHELL_NAME"; }
screen_has() { screen | grep -qF -- "$1"; }
typed() { tm send-keys -t "$SHELL_NAME" "$@"; }
# tab TEXT SHOWN: what stands in the line after the Tab
tab() {
	typed -l "$1"
	wait_until 5 screen_has "$1" || fail "$SHELL_NAME: no echo of $1: $(screen)"
	typed Tab
	wait_until 5 screen_has "$2" || fail "$SHELL_NAME: after '$1' and Tab no '$2': $(screen)"
	N_CHECKS=$((N_CHECKS + 1))
}
enter() {
	typed Enter
	wait_until 5 screen_has "$1" || fail "$SHELL_NAME: no '$1': $(screen)"
	N_CHECKS=$((N_CHECKS + 1))
	typed -l 'clear; echo cle''ared'
	typed Enter
	wait_until 5 screen_has cleared
}
in_shell() { # in_shell NAME SETUP COMMAND...
	SHELL_NAME=$1
	local prepare=$2
	shift 2
	command -v "$SHELL_NAME" >/dev/null || { echo "note: $SHELL_NAME is not installed" >&2; return; }
	tm new-session -d -s "$SHELL_NAME" -x 200 -y 24 "env HOME='$T/home' PATH='$BUILD:$PATH' NEFIA_HOME='$NEFIA_HOME' $*" || fail "tmux"
	typed -l "$prepare; echo rea''dy"
	typed Enter
	wait_until 10 screen_has ready || fail "$SHELL_NAME does not start: $(screen)"
	enter ready
	tab "nefia fs cat we" "nefia fs cat web:"
	tab "$D/one" 'one\ file'
	enter "text of one"
	tab "nefia fs cat web:$D/sub" 'sub\ dir/'
	tab "in" 'in\ side.txt'
	enter "text inside"
	tab "nefia fs cat web:$D/way" 'way/'
	tab "in" 'way/in\ side.txt'
	enter "text inside"
	tab "nefia fs cat web:$D/co" 'lon'
	enter "text of colon"
	# fish offers no name that its own language would read as wildcards.
	[ "$SHELL_NAME" = fish ] && return
	tab "nefia fs cat web:$D/st" '(id'
	enter "text of star"
}
in_shell bash 'source <(nefia completion bash)' bash --norc --noprofile
in_shell zsh 'autoload -Uz compinit; compinit -u -D; source <(nefia completion zsh)' zsh -f
in_shell fish 'nefia completion fish | source' fish --no-config
tm kill-server 2>/dev/null

nefia hub stop >/dev/null
began=$(calm_ms)
check "without a hub" equal "$(words --words fs ls "web:$D/")" ""
check "and none is started" test ! -S "$NEFIA_HOME/run/hub.sock"
start_hub
kill -STOP "$AGENT_PID"
check "a host that does not answer" equal "$(words --words fs ls "web:$D/")" ""
check "at once, and soon" test $(($(calm_ms) - began)) -lt 3500
kill -CONT "$AGENT_PID"
done_all
