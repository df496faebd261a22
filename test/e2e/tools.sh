#!/bin/bash
# the real programs by `nefia ssh-config`: ssh, scp, sftp, rsync, git, an editor, ControlMaster, agent forwarding
. "$(dirname "$0")/lib.sh"
for p in ssh scp sftp rsync git ssh-agent; do command -v $p >/dev/null || skip "$p is not installed"; done
setup
start_hub
C=$T/home/.ssh/config
expect 0 "ssh-config --install" nefia ssh-config --install --ssh-config "$C"
export GIT_SSH_COMMAND="ssh -F $C" RSYNC_RSH="ssh -F $C -o BatchMode=yes"
export GIT_CONFIG_GLOBAL=$T/gitconfig GIT_CONFIG_NOSYSTEM=1 LC_ALL=C
unset SSH_AUTH_SOCK
s() { ssh -F "$C" -o BatchMode=yes "$@"; }
nc_left() { pgrep -f "^$NEFIA .*nc " >/dev/null; }
head -c 3000000 /dev/urandom >"$T/blob"

# Keys are learned by one and checked by the other, both ways.
check "ssh learns the host" equal "$(s web.nefia echo through 2>"$T/err")" through
check "its key is in our known_hosts" grep -q '^web.nefia ' "$NEFIA_HOME/known_hosts"
expect 0 "exec knows the key that ssh learned" nefia exec --target web -- true
check "nothing was learned twice" equal "$(wc -l <"$NEFIA_HOME/known_hosts")" 1
rm "$NEFIA_HOME/known_hosts"
nefia hub stop >/dev/null 2>&1; wait "$HUB_PID"; start_hub
expect 0 "exec learns the host" nefia exec --target web -- true
out=$(s -o StrictHostKeyChecking=yes web.nefia echo known 2>"$T/err")
check "ssh knows the key that exec learned" equal "$out" known
check "ssh says nothing of it" test ! -s "$T/err"
out=$(s -o StrictHostKeyChecking=yes -l "$TEST_USER" -i "$T/id" WEB.nefia echo known 2>"$T/err")
check "upper case is the same host" equal "$out" known

# Exit statuses, ends, no word of ours among the data.
for n in 0 1 42 255; do
	s web.nefia "exit $n"
	check "status $n" equal $? $n
done
s web.nefia 'kill -TERM $$'
check "a signal is 255, as over TCP" equal $? 255
s web.nefia 'cat; echo end' <"$T/blob" >"$T/back" || fail "cat through ssh"
check "EOF one way ends the other" equal "$(tail -c 4 "$T/back")" end
check "both ways are whole" cmp -n 3000000 "$T/blob" "$T/back"
out=$(s web.nefia 'exec 1>&-; sleep 0.2; echo late >&2; exit 7' 2>&1)
check "an early end of one direction" equal "$?:$out" 7:late
s nobody.nefia true >"$T/out" 2>"$T/err"
check "an unknown host is ssh's 255" equal $? 255
check "with our reason" contains "$(cat "$T/err")" E1021
check "which is not in the data" test ! -s "$T/out"
out=$(s -p "$SSH_PORT" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null web.nefia echo other 2>"$T/err")
check "another port" equal "$out" other

# scp, sftp
scp -q -F "$C" "$T/blob" "web.nefia:$T/scp1" && scp -q -F "$C" "web.nefia:$T/scp1" "$T/scp2" || fail "scp"
check "scp both ways" cmp "$T/blob" "$T/scp2"
scp -q -O -F "$C" "web.nefia:$T/blob" "$T/scp3" || fail "scp -O"
check "scp -O" cmp "$T/blob" "$T/scp3"
printf 'put %s %s\nget %s %s\n' "$T/blob" "$T/sftp1" "$T/sftp1" "$T/sftp2" | sftp -q -F "$C" -b - web.nefia >"$T/out" 2>&1 ||
	fail "sftp: $(cat "$T/out")"
check "sftp both ways" cmp "$T/blob" "$T/sftp2"
scp -q -F "$C" "web.nefia:$T/no/such" "$T/x" 2>"$T/err"
check "scp's status for a file that is not there" test $? -ne 0

# rsync both ways, and the rest of a transfer that was broken off
mkdir -p "$T/tree/a/b" && cp "$T/blob" "$T/tree/a/b/x" && echo 'ü  ' >"$T/tree/a/na me"
rsync -a "$T/tree/" web.nefia:"$T/rsync1/" && rsync -a web.nefia:"$T/rsync1/" "$T/rsync2/" || fail "rsync"
check "rsync both ways" diff -r "$T/tree" "$T/rsync2"
head -c 40000000 /dev/urandom >"$T/large"
rsync --partial --bwlimit=4m "$T/large" web.nefia:"$T/part" 2>/dev/null &
p=$!
begun() { [ "$(stat -c %s "$T"/.part.* 2>/dev/null || echo 0)" -gt 1000000 ]; }
wait_until 10 begun || fail "rsync does not begin"
kill "$p"
wait "$p"
check "rsync was broken off" test $? -ne 0
wait_until 5 test -e "$T/part"
kept=$(stat -c %s "$T/part" 2>/dev/null || echo 0)
check "a part is there" test "$kept" -gt 0 -a "$kept" -lt 40000000
sent=$(rsync --partial --no-whole-file --stats "$T/large" web.nefia:"$T/part" | sed -n 's/^Literal data: \([0-9,]*\).*/\1/p' | tr -d ,)
check "rsync --partial goes on" cmp "$T/large" "$T/part"
check "and did not send it all again" test "$sent" -le $((40000000 - kept + 100000))

# git
git init -q --bare "$T/repo.git" && git clone -q web.nefia:"$T/repo.git" "$T/clone" 2>"$T/err" || fail "git clone: $(cat "$T/err")"
cp "$T/blob" "$T/clone/f"
git -C "$T/clone" -c user.name=t -c user.email=t@t add f && git -C "$T/clone" -c user.name=t -c user.email=t@t commit -qm one ||
	fail "git commit"
git -C "$T/clone" push -q origin HEAD:refs/heads/main 2>"$T/err" || fail "git push: $(cat "$T/err")"
git clone -q -b main web.nefia:"$T/repo.git" "$T/clone2" 2>"$T/err" || fail "git clone: $(cat "$T/err")"
check "git both ways" cmp "$T/blob" "$T/clone2/f"

# an editor that reads and writes by scp
if command -v vim >/dev/null && vim --version | grep -q +eval && [ -n "$(vim -es -u NONE -c 'redir! > /dev/stdout' -c 'echo $VIMRUNTIME' -c q)" ] &&
	vim -es -u NONE -N -c 'runtime plugin/netrwPlugin.vim' -c 'if exists(":Nread") | q | else | cq | endif' >/dev/null 2>&1; then
	echo before >"$T/edited"
	timeout 20 vim -es -u NONE -N -c 'runtime plugin/netrwPlugin.vim' -c "let g:netrw_scp_cmd='scp -q -F $C'" -c "let g:netrw_silent=1" \
		-c "edit scp://web.nefia/$T/edited" -c 's/before/after/' -c 'write' -c 'qall!' </dev/null >"$T/out" 2>&1
	check "vim edits through scp" equal "$(cat "$T/edited")" after
fi

# ControlMaster: many on one connection, which ends when told
sessions() { pgrep -P "$SSHD_PID" | wc -l; }
base=$(sessions) # the worker's own
no_more() { [ "$(sessions)" -le "$base" ]; }
M="-o ControlPath=$T/cm-%C -o ControlPersist=yes -o ControlMaster=auto"
check "a first one" equal "$(s $M web.nefia echo one)" one
for i in 1 2 3 4 5 6 7 8; do s $M web.nefia "sleep 0.2; exit $i" & p[i]=$!; done
for i in 1 2 3 4 5 6 7 8; do wait "${p[i]}"; check "status $i of eight at once" equal $? $i; done
check "one connection" equal "$(sessions)" $((base + 1))
scp -q -F "$C" $M "web.nefia:$T/blob" "$T/scp4" && check "scp on it" cmp "$T/blob" "$T/scp4"
s $M -O exit web.nefia 2>/dev/null
wait_until 5 no_more || fail "the server still has a session after -O exit"

# agent forwarding with a real agent
eval "$(ssh-agent -a "$T/agent.sock")" >/dev/null
PIDS="$PIDS $SSH_AGENT_PID"
ssh-add -q "$T/id" 2>/dev/null
check "the far end sees the agent's key" equal "$(s -A web.nefia ssh-add -l | cut -d' ' -f2)" "$(ssh-keygen -lf "$T/id.pub" | cut -d' ' -f2)"
s -A web.nefia "ssh-keygen -Y sign -n t -f $T/id.pub $T/edited" >/dev/null 2>&1 || s -A web.nefia "echo x >$T/edited; ssh-keygen -Y sign -n t -f $T/id.pub $T/edited" >"$T/out" 2>&1 || fail "a signature by the forwarded agent: $(cat "$T/out")"
unset SSH_AUTH_SOCK

# forwards of ssh's own
lp=$(free_port)
ssh -F "$C" -o BatchMode=yes -N -L "127.0.0.1:$lp:127.0.0.1:$SSH_PORT" web.nefia &
fwd=$!
wait_until 5 port_answers "$lp" || fail "ssh -L does not listen"
check "ssh -L" equal "$(timeout 5 head -c 4 <"/dev/tcp/127.0.0.1/$lp")" SSH-
kill $fwd; wait $fwd 2>/dev/null

# Nothing stays behind: no nc, no session of sshd.
wait_until 5 no_more || fail "sessions of sshd are left: $(pgrep -aP "$SSHD_PID")"
nc_left && fail "a nefia nc is left: $(pgrep -af "^$NEFIA .*nc ")"
expect 0 "ssh-config --uninstall" nefia ssh-config --uninstall --ssh-config "$C"
check "ssh's configuration is gone" test ! -e "$C"
done_all
