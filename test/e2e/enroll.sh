#!/bin/bash
# Enrollment: one command here, one line there. The good case up to exec, every error that a person can meet, lost
# replies, revocation, reinvitation, and fifty invites at once.
. "$(dirname "$0")/lib.sh"
TEST_NAME=enroll
start_sshd
operator_init
ENROLL_PORT=$(free_port)
sed -i "s/^  listen_port:.*/&\n  enroll_port: $ENROLL_PORT/" "$NEFIA_HOME/nefia.yaml"
sed -i "s|identities: .*|identities: [\"$T/id\"]|; s/^ssh:/&\n  user: $TEST_USER/" "$NEFIA_HOME/nefia.yaml"
EP=127.0.0.1:$HUB_PORT
umask 022

enroll() { # enroll FOLDER TOKEN-FILE [OPTION...]
	local to=$1 token=$2
	shift 2
	eval "AGENT_PORT_$to=\$(free_port)"
	eval "port=\$AGENT_PORT_$to"
	"$AGENT" enroll --token-file "$token" --out-dir "$T/$to" --ssh-addr "127.0.0.1:$SSH_PORT" --listen-port "$port" "$@"
}
invite() { nefia vpn invite --os linux --endpoint "$EP" "$@"; }
status_of() { nefia vpn enroll-status --name "$1" 2>/dev/null | sed -n 's/^Status: *//p'; }
is_active() { [ "$(status_of "$1")" = active ]; }
mode_of() { stat -c %a "$1"; }

# ---- the good case: invite waits, the pasted line enrolls
invite --name web --token-out "$T/web.token" >"$T/invite.out" 2>&1 &
INVITE=$!
PIDS="$PIDS $INVITE"
wait_until 5 grep -q '^Listening' "$T/invite.out" || fail "invite does not listen: $(cat "$T/invite.out")"
check "state of an invited host" equal "$(status_of web)" pending
check "mode of the token's file" equal "$(mode_of "$T/web.token")" 600
check "the token is in the line to paste" grep -qF "echo '$(cat "$T/web.token")' | nefia-agent enroll --token-file - --run" "$T/invite.out"
begin=$(now_ms)
enroll web - <"$T/web.token" >"$T/out" 2>"$T/err" || fail "enroll: $(cat "$T/out" "$T/err")"
for line in "Connecting to operator at 127.0.0.1:$ENROLL_PORT..." "Direct enrollment succeeded." "Validating invite token... OK" \
	"Key exchange... OK" "VPN tunnel established 10.99.0.2" "SSH host key registered SHA256:" "Enrollment successful!" \
	"Config written to $T/web/agent.yaml"; do
	check "transcript: $line" grep -qF "$line" "$T/out"
done
# the whole of it, line by line and in this order
sed -E 's/SHA256:[A-Za-z0-9+/]{43}/SHA256:.../' "$T/out" >"$T/transcript"
printf '%s\n' "Connecting to operator at 127.0.0.1:$ENROLL_PORT..." "Direct enrollment succeeded." "Validating invite token... OK" \
	"Key exchange... OK" "VPN tunnel established 10.99.0.2" "SSH host key registered SHA256:..." "Enrollment successful!" \
	"Config written to $T/web/agent.yaml" >"$T/transcript.want"
check "the transcript: $(diff "$T/transcript.want" "$T/transcript")" cmp -s "$T/transcript.want" "$T/transcript"
check "nothing on standard error" equal "$(cat "$T/err")" ""
wait $INVITE || fail "invite: $(cat "$T/invite.out")"
check "invite says who came" grep -q '^web enrolled from 127.0.0.1' "$T/invite.out"
check "state after it" equal "$(status_of web)" active
check "mode of agent.yaml" equal "$(mode_of "$T/web/agent.yaml")" 600
check "the key of the attempt is gone" test ! -e "$T/web/agent.yaml.enrolling"
check "the host's key is registered" grep -q '^web.nefia,10.99.0.2 ssh-ed25519 ' "$NEFIA_HOME/known_hosts"
start_agent web
expect 0 "exec" nefia exec --target web -- echo reached
check "exec" equal "$OUT" reached
echo "from paste to exec: $(($(now_ms) - begin)) ms"
expect 1 "a configuration is there" enroll web "$T/web.token"
check "a configuration is there" contains "$ERR" "--force"

# ---- a running hub listens by itself
wait_until 3 test ! -S "$NEFIA_HOME/run/hub.sock" # the first command's own hub
start_hub
expect 0 "invite without listening" invite --name lost --listen=false --token-out "$T/lost.token"
wait_until 3 port_answers "$ENROLL_PORT" || fail "the hub does not listen"
expect 0 "enroll at the hub" enroll lost "$T/lost.token"
check "address" contains "$OUT" "10.99.0.3"
cp "$T/lost/agent.yaml" "$T/lost.yaml"

# a token may be used in the moment in which it is there, and a refusal's reason is where the agent's person is sent to
invite --name hasty --token-out "$T/hasty.token" --no-print-token >"$T/hasty.out" 2>&1 &
INVITE=$!
until [ -s "$T/hasty.token" ]; do kill -0 $INVITE || fail "invite: $(cat "$T/hasty.out")"; done
expect 0 "enroll at once" "$AGENT" enroll --token-file "$T/hasty.token" --out-dir "$T/hasty" --ssh-addr 127.0.0.1:1 --listen-port "$(free_port)"
wait $INVITE || fail "invite: $(cat "$T/hasty.out")"
expect 0 "forget it again" nefia host remove hasty
expect 1 "a token of nobody's" "$AGENT" enroll --token-file "$T/hasty.token" --out-dir "$T/none" --ssh-addr 127.0.0.1:1
check "sent to the log" contains "$ERR" "nefia hub logs"
check "the reason is there" grep -q 'enrollment refused from=127.0.0.1:[0-9]* reason="no such invite"' "$T/hub.log"

# revoked before it ever came: neither pending nor stale, and without a name
expect 0 "an invite" invite --name never --listen=false --no-print-token --token-out "$T/never.token"
expect 0 "revoked" nefia vpn revoke --name never
expect 0 "status" nefia vpn status
check "says revoked: $OUT" contains "$OUT" "  never 10.99.0.4 revoked"
check "no record" test -z "$(grep 'never.*->' "$T/out")"
expect 0 "status as JSON" nefia vpn status --json
check "says revoked" grep -q '"state": "revoked"' "$T/out"
expect 0 "forgotten" nefia host remove never

# the reply got lost: the same key with the same token gets the same answer; another key does not
rm "$T/lost/agent.yaml"
key=$(sed -n 's/^private_key: //p' "$T/lost.yaml")
nonce=$(nefia vpn token-info --token-file "$T/lost.token" 2>/dev/null | sed -n 's/^Nonce: *//p')
check "token-info" equal "${#nonce}" 32
expect 1 "another key" enroll thief "$T/lost.token"
check "another key" contains "$ERR" "token has already been used (nonce reused)"
check "another key: next step, as it has to be typed" contains "$ERR" "nefia vpn reinvite --name lost --endpoint IP:PORT"
id=$(sed -n 's/^invite //p' "$T/thief/agent.yaml.enrolling")
printf 'version 1\ninvite %s\nprivate_key %s\n' "$id" "$key" >"$T/lost/agent.yaml.enrolling"
expect 0 "the same key again" enroll lost "$T/lost.token"
check "the same address again" contains "$OUT" "10.99.0.3"
check "one host" equal "$(grep -c 'id: lost' "$NEFIA_HOME/nefia.yaml")" 1

# ---- errors
sed 's/.$//' "$T/lost.token" >"$T/cut.token"
expect 1 "a cut token" enroll bad "$T/cut.token"
check "a cut token" contains "$ERR" "invalid token signature"
check "a cut token: next step" contains "$ERR" "Try: Copy the full token again."
expect 0 "a short-lived one" invite --name late --listen=false --ttl 1s --token-out "$T/late.token"
expect 0 "superseded" invite --name twice --listen=false --token-out "$T/old.token"
expect 0 "reinvite" nefia vpn reinvite --name twice --endpoint "$EP" --listen=false --token-out "$T/new.token"
check "reinvite keeps the address" equal "$(nefia vpn token-info --token-file "$T/new.token" 2>/dev/null | grep '^VPN')" \
	"$(nefia vpn token-info --token-file "$T/old.token" 2>/dev/null | grep '^VPN')"
expect 1 "a superseded token" enroll twice "$T/old.token"
check "a superseded token" contains "$ERR" "validation failed"
check "a superseded token: next step" contains "$ERR" "Try: The reason is in the operator's log: nefia hub logs"
check "and the log has attempts by the beginning of the nonce" grep -qE 'enrollment .* nonce=[0-9a-f]{8}( |$)' "$NEFIA_HOME/hub.log"
check "no whole nonce in the log" equal "$(grep -cE '[0-9a-f]{32}' "$NEFIA_HOME/hub.log")" 0
expect 0 "the new one" enroll twice "$T/new.token"
sleep 1
expect 1 "an expired token" enroll late "$T/late.token"
check "an expired token" contains "$ERR" "token has expired"
check "an expired token: next step" contains "$ERR" "nefia vpn reinvite --name late --endpoint IP:PORT"
expect 0 "status of an expired invite" nefia vpn enroll-status --name late
check "it is said" contains "$ERR" "nefia vpn reinvite --name late"
expect 0 "token-info of it" nefia vpn token-info --token-file "$T/late.token"
check "it is said" contains "$OUT" "[EXPIRED]"
# tokens that nobody makes: without a nonce; signed by somebody else. The agent's checksum (BLAKE2s) is right in both.
forge='
import base64, hashlib, json, sys
text, kind = open(sys.argv[1]).read().strip(), sys.argv[2]
part = lambda s: base64.urlsafe_b64decode(s + "=" * (-len(s) % 4))
body, sig = part(text.split(".")[0]), bytearray(part(text.split(".")[1])[:32])
if kind == "nonce":
    j = json.loads(body); del j["nonce"]; body = json.dumps(j).encode()
else:
    sig[0] ^= 1
total = hashlib.blake2s(b"nefia token" + body + bytes(sig)).digest()[:4]
enc = lambda b: base64.urlsafe_b64encode(b).decode().rstrip("=")
print(enc(body) + "." + enc(bytes(sig) + total))'
if command -v python3 >/dev/null; then
	expect 0 "for forgeries" invite --name forged --listen=false --token-out "$T/forged.token"
	for kind in nonce signature; do python3 -c "$forge" "$T/forged.token" $kind >"$T/$kind.token" || fail "forging"; done
	expect 1 "a token without a nonce" enroll forged "$T/nonce.token"
	check "without a nonce" contains "$ERR" "Error: enrollment nonce must not be empty"
	check "without a nonce: next step" contains "$ERR" "Try: Ask the operator for a new token."
	expect 1 "another's signature" enroll forged "$T/signature.token"
	check "another's signature: the operator says so" contains "$ERR" "Error: invalid token signature"
	check "another's signature: next step" contains "$ERR" "Try: Copy the full token again."
	check "the forged host stays pending" equal "$(status_of forged)" pending
fi
# somebody else at the port
expect 0 "an invite to sshd" nefia vpn invite --name nowhere --os linux --endpoint "$EP" --enroll-port "$SSH_PORT" --listen=false \
	--token-out "$T/ssh.token"
expect 1 "somebody else there" enroll nowhere "$T/ssh.token"
check "somebody else there" contains "$ERR" "whoever answered is not the operator of this token"
check "somebody else there: next step" contains "$ERR" "nefia vpn token-info"
expect 2 "both" "$AGENT" enroll --token x --token-file y
expect 2 "an address of the SSH server that agent.yaml would not take" "$AGENT" enroll --token x --ssh-addr example.org
check "it is named" contains "$ERR" "not 'example.org'"
expect 1 "no token file" "$AGENT" enroll --token-file "$T/no.token" --out-dir "$T/none"
check "which, and why" contains "$ERR" "$T/no.token: not found"
expect 1 "a token file that is a folder" "$AGENT" enroll --token-file "$T" --out-dir "$T/none"
check "which one" contains "$ERR" "$T: "
expect 1 "token-info of a file that is not there" nefia vpn token-info --token-file "$T/no.token"
check "which, and why" contains "$ERR" "$T/no.token: No such file"
expect 1 "token-info of a folder" nefia vpn token-info --token-file "$T"
check "what it is" contains "$ERR" "$T: Is a directory"
expect 2 "no name" nefia vpn invite --os linux --endpoint "$EP"
expect 2 "no os" nefia vpn invite --name x --endpoint "$EP"
expect 1 "no way" nefia vpn invite --name x --os linux
check "no way" contains "$ERR" E1051
check "no host was made" equal "$(grep -c 'id: x$' "$NEFIA_HOME/nefia.yaml")" 0
expect 1 "a name twice" invite --name web --listen=false
check "a name twice" contains "$ERR" E1022

# ---- the token's other ways out: standard input of a program, never its command line
mkdir "$T/fake"
for p in wl-copy qrencode; do
	printf '#!/bin/sh\ncat >"%s/%s.in"\necho "$@" >"%s/%s.args"\n' "$T" $p "$T" $p >"$T/fake/$p"
	chmod +x "$T/fake/$p"
done
PATH=$T/fake:$PATH expect 0 "copy and qr" invite --name copied --listen=false --copy --qr --no-print-token --token-out "$T/copied.token"
check "nothing is printed" equal "$OUT" ""
check "the clipboard has it" cmp "$T/copied.token" "$T/wl-copy.in"
check "the QR code has it" cmp "$T/copied.token" "$T/qrencode.in"
check "no command line has it" equal "$(cat "$T/wl-copy.args" "$T/qrencode.args" | tr -d '\n')" "-t UTF8"

# ---- revocation
expect 0 "exec before" nefia exec --target web -- true
"$NEFIA" exec --target web -- "touch $T/live; exec sleep 60" >"$T/live.out" 2>&1 </dev/null &
LIVE=$!
PIDS="$PIDS $LIVE"
check "a command runs" wait_until 5 test -e "$T/live"
revoked=$(now_ms)
expect 0 "revoke" nefia vpn revoke --name web
check "state" equal "$(status_of web)" revoked
check "its session ends at once" wait_until 3 sh -c "! kill -0 $LIVE 2>/dev/null"
wait "$LIVE" && fail "the revoked host's command succeeded"
echo "a live session of a revoked host ended after $(($(now_ms) - revoked)) ms: $(tail -1 "$T/live.out")"
expect 255 "exec after" nefia exec --target web --timeout 5s -- true
stop_pid "$HUB_PID"
start_hub
expect 255 "exec after, with another hub" nefia exec --target web --timeout 5s -- true
check "still revoked" equal "$(status_of web)" revoked
expect 1 "a revoked one comes back" enroll again "$T/web.token"
expect 0 "reinvite" nefia vpn reinvite --name web --endpoint "$EP" --listen=false --token-out "$T/web2.token"
stop_pid "$AGENT_PID" KILL # else it waits for the session that the revocation cut
expect 0 "enroll again" enroll web "$T/web2.token" --force
check "the same address" contains "$OUT" "10.99.0.2"
start_agent web
expect 0 "exec again" nefia exec --target web -- true

# ---- a fleet: names of their own, approval, a limit
expect 2 "reusable with a name" invite --reusable --name x --max-uses 2
expect 0 "reusable" nefia vpn invite --reusable --max-uses 2 --group fleet --endpoint "$EP" --listen=false --token-out "$T/fleet.token"
expect 0 "the first of a fleet" enroll f1 "$T/fleet.token"
check "it waits" contains "$OUT" "waiting for the operator's approval: nefia vpn approve"
expect 0 "the second" enroll f2 "$T/fleet.token"
expect 1 "the third" enroll f3 "$T/fleet.token"
check "the third" contains "$ERR" "nonce reused"
start_agent f2
name=$(sed -n 's/^host_id: //p' "$T/f2/agent.yaml")
expect 255 "not approved" nefia exec --target "$name" --timeout 3s -- true
expect 2 "approve without an answer" nefia vpn approve --all
expect 0 "approve all" nefia vpn approve --all --accept-risk=approve-all
expect 0 "approved" nefia exec --target "$name" -- true

# ---- too many from one address, all of them nobody's
for _ in 1 2 3 4 5 6 7 8; do (exec 3<>"/dev/tcp/127.0.0.1/$ENROLL_PORT" && printf '%0140d' 0 >&3 && cat <&3) >/dev/null 2>&1; done
expect 0 "another invite" invite --name more --listen=false --token-out "$T/more.token"
for _ in 1 2 3 4 5 6 7 8; do (exec 3<>"/dev/tcp/127.0.0.1/$ENROLL_PORT" && printf '%0140d' 0 >&3 && cat <&3) >/dev/null 2>&1; done
expect 1 "shut out" enroll more "$T/more.token"
check "shut out" contains "$ERR" "too many enrollment requests"
check "shut out: next step" contains "$ERR" "Wait 30 seconds"
stop_pid "$HUB_PID"

# ---- nobody is there, which takes its ten seconds
{ enroll nowhere2 "$T/more.token" 2>&1; echo "status $?"; } >"$T/nobody.out" &
NOBODY=$!

# ---- the port is somebody else's
expect 1 "a port in use" invite --name other --enroll-port "$SSH_PORT"
check "E1004" contains "$ERR" "Error: [E1004] VPN setup failed"

# ---- fifty at once: fifty addresses, an intact file, and the person's comments
sed -i 's/^hosts:.*/# my hosts\n&/' "$NEFIA_HOME/nefia.yaml"
pids=''
for i in $(seq 50); do
	invite --name "fleet$i" --listen=false --no-print-token >"$T/fleet$i.out" 2>&1 &
	pids="$pids $!"
done
for p in $pids; do wait "$p" || fail "an invite of fifty failed: $(cat "$T"/fleet*.out)"; done
check "fifty addresses" equal "$(sed -n '/id: fleet/,/addr:/s/^ *addr: //p' "$NEFIA_HOME/nefia.yaml" | sort -u | wc -l)" 50
check "comments stay" equal "$(grep -c '^# my hosts' "$NEFIA_HOME/nefia.yaml")" 1
expect 0 "the file loads" nefia host list
wait $NOBODY
for line in "Error: the operator cannot be reached" "nefia vpn listen" "status 1"; do
	check "nobody there: $line" contains "$(cat "$T/nobody.out")" "$line"
done
expect 1 "fleet1 again" invite --name fleet1 --listen=false
done_all
