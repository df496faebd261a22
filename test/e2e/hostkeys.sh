#!/bin/bash
# known_hosts shared with real ssh and ssh-keygen: hashed names, revoked keys, authorities, a lock that somebody holds
. "$(dirname "$0")/lib.sh"
command -v ssh >/dev/null || skip "no ssh client on this machine"
setup
KH=$NEFIA_HOME/known_hosts
C=$T/config
nefia ssh-config >"$C" || fail "ssh-config"
start_hub
s() { ssh -F "$C" -o BatchMode=yes "$@" </dev/null 2>"$T/err"; }
# Nothing that was learned or connected before is used again.
anew() { nefia hub stop >/dev/null 2>&1; wait "$HUB_PID" 2>/dev/null; start_hub; }
KEY=$(cut -d' ' -f1,2 "$T/sshd/host_key.pub")
ssh-keygen -q -t ed25519 -N '' -f "$T/other" </dev/null
OTHER=$(cut -d' ' -f1,2 "$T/other.pub")

# Learned by ssh under a hashed name.
check "ssh hashes" s -o HashKnownHosts=yes web.nefia true
check "no name is in the file" bash -c "! grep -q web '$KH'"
expect 0 "exec reads the hash" nefia exec --target web -- true
check "and adds nothing" equal "$(wc -l <"$KH")" 1
{ echo "$(ssh-keygen -F web.nefia -f "$KH" | tail -1 | cut -d' ' -f1) $OTHER"; } >"$T/wrong"
cp "$T/wrong" "$KH"
anew
expect 255 "another key under a hash" nefia exec --target web -- true
check "its line is named: $ERR" contains "$ERR" "$KH:1"
check "E1033" contains "$ERR" "[E1033]"
s web.nefia true
check "ssh refuses it too" equal $? 255
ssh-keygen -q -R web.nefia -f "$KH" >/dev/null 2>&1
expect 0 "ssh-keygen -R, and it is learned again" nefia exec --target web -- true
check "ssh agrees" s -o StrictHostKeyChecking=yes web.nefia true

# Revoked, for both.
printf 'web.nefia %s\n@revoked *.nefia %s\n' "$KEY" "$KEY" >"$KH"
anew
expect 255 "a revoked key" nefia exec --target web -- true
check "it says so: $ERR" contains "$ERR" "$KH:2: the key SHA256:"
s web.nefia true
check "by ssh too" equal $? 255

# Known by an authority alone.
printf '@cert-authority *.nefia %s\n' "$OTHER" >"$KH"
anew
expect 255 "an authority" nefia exec --target web -- true
check "by name, with the reason: $ERR" contains "$ERR" "web is known by @cert-authority only"
check "nothing was added" equal "$(wc -l <"$KH")" 1
printf 'web.nefia %s\n' "$KEY" >>"$KH"
expect 0 "its key beside the authority's" nefia exec --target web -- true

# Somebody holds the lock: the hub goes on, and the key is learned as soon as it may.
rm "$KH"
anew
exec 7>>"$KH.lock"
flock 7
t=$(now_ms)
nefia exec --target web -- true >"$T/out" 2>"$T/exec.err" 7>&- &
p=$!
slow=0
while kill -0 "$p" 2>/dev/null && [ $(($(now_ms) - t)) -lt 1200 ]; do
	t1=$(calm_ms)
	nefia vpn status --live >/dev/null 2>&1 7>&-
	[ $(($(calm_ms) - t1)) -lt 700 ] || slow=1
	sleep 0.1
done
check "the hub answers meanwhile" equal "$slow" 0
check "the command waits" kill -0 "$p"
exec 7>&-
wait "$p" || fail "after the lock was free: $(cat "$T/exec.err")"
check "within its time" test $(($(calm_ms) - t)) -lt 5000
check "the key is there" grep -q '^web.nefia,' "$KH"
rm "$KH"
anew
exec 7>>"$KH.lock"
flock 7
expect 255 "a lock that is not given back" nefia exec --target web -- true 7>&-
check "it is named: $ERR" contains "$ERR" "$KH.lock"
done_all
