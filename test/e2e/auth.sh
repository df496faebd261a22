#!/bin/bash
# logging in: keys of every kind and format in their order, a real ssh-agent, certificates; and what is said when nothing fits
. "$(dirname "$0")/lib.sh"
for p in ssh-agent ssh-add ssh-keygen; do command -v $p >/dev/null || skip "$p is not installed"; done
unset SSH_AUTH_SOCK SSH_AGENT_PID
setup
mkdir "$T/keys"
K=$T/keys
YAML=$NEFIA_HOME/nefia.yaml
make_key() { ssh-keygen -q -N "${NEW_PASS:-}" -C "$1" -f "$K/$1" "${@:2}" </dev/null; }
make_key ed -t ed25519
make_key ec256 -t ecdsa -b 256
make_key ec384 -t ecdsa -b 384
make_key ec521 -t ecdsa -b 521
make_key rsa -t rsa -b 2048
make_key rsa_pem -t rsa -b 2048 -m PEM
make_key ec_pkcs8 -t ecdsa -m PKCS8
NEW_PASS="open sesame" make_key locked -t ed25519
let_in() { cat "$@" >"$T/sshd/authorized_keys"; }
# as ID...: these identities for the host; a worker that logs in anew
as() {
	local list=
	for i; do list="$list${list:+, }$i"; done
	sed -i '/identity:/d; s|^  identities:.*|  identities: ['"$list"']|' "$YAML"
	nefia hub reload >/dev/null 2>&1
}
run() { nefia exec --target web -- echo in; }
start_hub

# Every kind alone: the server logs which one it took.
for k in ed ec256 ec384 ec521 rsa rsa_pem ec_pkcs8; do
	let_in "$K/$k.pub"
	as "$K/$k"
	expect 0 "log in by $k" run
	check "output by $k" equal "$OUT" in
done
check "RSA signs with SHA-2" grep -q 'RSA SHA256' "$T/sshd.log"

# Identities in deep folders: as long as a path may be, and no longer.
DEEP=$K/$(printf 'd%.0s' $(seq 200))/$(printf 'e%.0s' $(seq 200))
mkdir -p "$DEEP" && cp "$K/ed" "$K/ed.pub" "$DEEP"
let_in "$K/ed.pub"
as "$DEEP/ed"
expect 0 "log in by a key with a path of ${#DEEP} bytes" run
as "/$(printf 'x%.0s' $(seq 4100))"
expect 255 "a path that is none" run
check "it is said" contains "$ERR" "longer than 4095 bytes"

# In order: the first one that the server takes.
let_in "$K/ec384.pub" "$K/rsa.pub"
as "$K/ed" "$K/ec384" "$K/rsa"
expect 0 "the second of three" run
last_key() { grep -o 'Accepted publickey.*' "$T/sshd.log" | tail -1; }
check "it was ec384" contains "$(last_key)" "$(ssh-keygen -lf "$K/ec384.pub" | cut -d' ' -f2)"

# Nothing fits: which ones, in order, and why each.
let_in /dev/null
cp "$K/ed" "$K/open" && chmod 644 "$K/open"
ssh-keygen -q -t ed25519 -N x -f "$K/other" </dev/null
echo 'PuTTY-User-Key-File-3: ssh-ed25519' >"$K/putty" && chmod 600 "$K/putty"
head -c 100 "$K/rsa" >"$K/half" && chmod 600 "$K/half"
as "$K/ed" "$K/missing" "$K/open" "$K/putty" "$K/half" "$K/rsa"
expect 255 "no key fits" run
check "its code" contains "$ERR" "[E1034]"
check "the user" contains "$ERR" "user $TEST_USER"
check "each in its place" contains "$(tr '\n' ' ' <<<"$ERR")" "$K/ed: refused by the server; $K/missing: not found; $K/open: others may read it (chmod 600 it); $K/putty: a key of PuTTY (puttygen -O private-openssh converts it); $K/half: damaged; $K/rsa: refused by the server"

# What was put right counts at once.
let_in "$K/rsa.pub"
expect 0 "after the server was told of a key" run
as "$K/open"
expect 255 "a file that others may read" run
chmod 600 "$K/open"; let_in "$K/ed.pub"
expect 0 "after chmod" run

# More keys than the server takes.
let_in "$K/rsa.pub"
echo 'MaxAuthTries 3' >>"$T/sshd/config"; hup_sshd
as "$K/ed" "$K/ec256" "$K/ec384" "$K/ec521" "$K/rsa"
expect 255 "too many keys" run
check "it says so: $ERR" contains "$ERR" MaxAuthTries
check "and how many were not tried" contains "$ERR" "2 were not tried"
sed -i '/MaxAuthTries/d' "$T/sshd/config"; hup_sshd
expect 0 "with a server that takes more" run

# A server that takes SHA-1 signatures alone gets none.
as "$K/rsa"
if "$SSHD" -T -f "$T/sshd/config" -o PubkeyAcceptedAlgorithms=ssh-rsa >/dev/null 2>&1; then
	echo 'PubkeyAcceptedAlgorithms ssh-rsa' >>"$T/sshd/config"; hup_sshd
	for q in $(pgrep -P "$SSHD_PID"); do kill $(pgrep -P "$q") "$q" 2>/dev/null; done
	nefia hub reload >/dev/null; as "$K/rsa" "$K/rsa"
	n_accepted=$(grep -c 'Accepted publickey' "$T/sshd.log")
	expect 255 "SHA-1" run
	# An older server only logs that SHA-2 was tried; a newer one announced that it need not be.
	check "SHA-2 was tried, or ruled out by the server: $ERR" \
		grep -q 'signature algorithm rsa-sha2-512 not in\|the server takes RSA with SHA-1 only' "$T/sshd.log" "$T/err"
	check "no signature was taken" equal "$(grep -c 'Accepted publickey' "$T/sshd.log")" "$n_accepted"
	sed -i '/PubkeyAcceptedAlgorithms/d' "$T/sshd/config"; hup_sshd
fi

# A certificate beside the key.
ssh-keygen -q -t ed25519 -N '' -f "$K/ca" </dev/null
ssh-keygen -q -s "$K/ca" -I me -n "$TEST_USER" "$K/ec256.pub" 2>/dev/null
ssh-keygen -q -s "$K/ca" -I me -n "$TEST_USER" "$K/rsa.pub" 2>/dev/null
for k in ec256 rsa; do
	printf 'cert-authority %s\n' "$(cat "$K/ca.pub")" >"$T/sshd/authorized_keys"
	as "$K/$k"
	expect 0 "a certificate for $k" run
	check "the server took the certificate" contains "$(last_key)" "ID me"
done
rm "$K"/*-cert.pub

# No terminal: a clear error, at once.
let_in "$K/locked.pub"
as "$K/locked"
t=$(calm_ms)
expect 255 "a locked key without a terminal" setsid -w "$NEFIA" exec --target web -- true
check "it names the key and the way out: $ERR" contains "$ERR" "$K/locked: it needs a passphrase"
check "and ssh-add" contains "$ERR" ssh-add
check "at once" test $(($(calm_ms) - t)) -lt 3000

# The agent of the command, though the hub has none.
eval "$(ssh-agent -a "$T/agent.sock")" >/dev/null
PIDS="$PIDS $SSH_AGENT_PID"
ssh-add -q "$K/ed" "$K/ec521" "$K/rsa" 2>/dev/null
mv "$K/rsa" "$K/rsa.away"
let_in "$K/rsa.pub"
as "$K/rsa.pub"
expect 0 "a public key is named, the agent signs" run
check "by RSA" contains "$(last_key)" "$(ssh-keygen -lf "$K/rsa.pub" | cut -d' ' -f2)"
as "$K/rsa"
expect 0 "the file is gone, its public half names the agent's key" run
as agent
expect 0 "all keys of the agent" run
let_in "$K/ec521.pub"
as "$K/ed"
expect 255 "a key that is not named is not tried" run
check "only the named one: $ERR" contains "$ERR" "tried $K/ed: refused by the server"
as "$K/ed" agent
expect 0 "the agent after a file" run
as
expect 0 "nothing is configured: the agent" run
# A locked key that the agent has needs no passphrase.
cp "$K/locked" "$T/unlocked" && ssh-keygen -q -p -P "open sesame" -N '' -f "$T/unlocked" >/dev/null </dev/null
ssh-add -q "$T/unlocked" 2>/dev/null
let_in "$K/locked.pub"
as "$K/locked"
expect 0 "a locked key that the agent has" run
ssh-add -q -x <<<x >/dev/null 2>&1
ssh-add -q -D 2>/dev/null
as "$K/rsa.pub"
expect 255 "an agent without the key" run
check "it says so: $ERR" contains "$ERR" "not in ssh-agent"
kill "$SSH_AGENT_PID"
expect 255 "an agent that is gone" run
check "it says so, too: $ERR" contains "$ERR" "not in ssh-agent"
unset SSH_AUTH_SOCK

done_all
