#!/bin/bash
# nefia nc: plain ssh through it, by pipes and by a passed descriptor
. "$(dirname "$0")/lib.sh"
command -v ssh >/dev/null || skip "no ssh client on this machine"
setup
start_hub
ssh_opts="-F none -i $T/id -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=$T/kh -o BatchMode=yes -o LogLevel=ERROR"
out=$(ssh $ssh_opts -o ProxyCommand="$NEFIA nc %h 22" "$TEST_USER@web" echo through) || fail "ssh through nefia nc"
check "ssh through nc" equal "$out" through
head -c 2000000 /dev/urandom >"$T/blob"
ssh $ssh_opts -o ProxyCommand="$NEFIA nc %h 22" "$TEST_USER@web" cat <"$T/blob" >"$T/back" || fail "binary through nc"
check "binary through nc" cmp "$T/blob" "$T/back"
out=$(ssh $ssh_opts -o ProxyCommand="$NEFIA nc --fdpass %h 22" -o ProxyUseFdpass=yes "$TEST_USER@web" echo passed) ||
	fail "ssh through nefia nc --fdpass"
check "ssh through a passed descriptor" equal "$out" passed
banner=$(nefia nc web 22 </dev/null | head -c 4)
check "nothing but data on stdout" equal "$banner" SSH-
out=$(nefia nc web "$SSH_PORT" </dev/null | head -c 4)
check "another port goes through sshd" equal "$out" SSH-
nefia nc web 9 </dev/null >"$T/out" 2>"$T/err" && fail "nc to a closed port succeeded"
check "nothing on stdout" test ! -s "$T/out"
done_all
