#!/bin/bash
# init and host: every flag, what is written with which mode, what is refused with which code.
cd "$(dirname "$0")/../../.." || exit 1
B=$(cd "${BUILD:-build}" && pwd)
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
export NEFIA_HOME=$T/home
cd "$T" || exit 1
umask 022
Y=$NEFIA_HOME/nefia.yaml
bad=0
complain() { echo "line ${BASH_LINENO[1]}: $*"; bad=1; }
run() { # run STATUS WORD...: output in $OUT, $ERR
	local want=$1
	shift
	"$B/nefia" "$@" >"$T/out" 2>"$T/err"
	local got=$?
	OUT=$(cat "$T/out") ERR=$(cat "$T/err")
	[ $got = "$want" ] || complain "nefia $*: exit $got, not $want: $OUT $ERR"
}
says() { case $1 in *"$2"*) ;; *) complain "no '$2' in: $1" ;; esac; }
lacks() { case $1 in *"$2"*) complain "'$2' in: $1" ;; esac; }
mode() { [ "$(stat -c %a "$1")" = "$2" ] || complain "$1 has mode $(stat -c %a "$1"), not $2"; }

# init
run 1 host list
says "$ERR" "[E1001]"
run 0 init
[[ $OUT =~ ^Public\ key:\ [A-Za-z0-9+/]{43}=$ ]] || complain "init prints: $OUT"
PUB=${OUT#Public key: }
mode "$NEFIA_HOME" 700
mode "$Y" 600
before=$(cat "$Y")
run 1 init
says "$ERR" "Error: [E1005] The configuration exists already"
[ "$before" = "$(cat "$Y")" ] || complain "a second init changed the file"
NEFIA_HOME=$T/home2 "$B/nefia" init >/dev/null 2>&1
cmp -s <(grep private_key "$Y") <(grep private_key "$T/home2/nefia.yaml") && complain "two inits made one key"
NEFIA_HOME='' "$B/nefia" --config "$T/else/where.yaml" init >/dev/null 2>&1
[ -f "$T/else/where.yaml" ] || complain "init --config did not write there"
run 0 host list
says "$OUT" "No hosts yet"

# without a key: agent.yaml is made, complete and private, and its key is kept nowhere else
run 0 host add web1 --endpoint 192.0.2.7:4000 --user deploy --identity "~/.ssh/k ey'1" --group front --tag prod --tag "b'lue" \
	--agent-config "$T/web1.yaml"
says "$OUT" "address 10.99.0.2"
mode "$T/web1.yaml" 600
mode "$Y" 600
A=$(sed -n 's/^private_key: //p' "$T/web1.yaml")
grep -qF "$A" "$Y" && complain "the agent's private key is in nefia.yaml"
for w in "listen_port: 4000" 'address: "10.99.0.2/24"' "host_id: web1" "public_key: $PUB" 'vpn_addr: "10.99.0.1"'; do
	grep -qF "$w" "$T/web1.yaml" || complain "no '$w' in the agent's file"
done
run 0 host show web1 --json
for w in '"id": "web1"' '"group": "front"' '"prod"' "\"b'lue\"" '"user": "deploy"' '"10.99.0.2"' '"endpoint": "192.0.2.7:4000"' '"state": "active"'; do
	says "$OUT" "$w"
done
grep -qF "identity: '~/.ssh/k ey''1'" "$Y" || complain "the identity is not kept as given"

# with a key: the block for its agent, and no file
ls "$T" >"$T/ls1"
K=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=
run 0 host add web2 --public-key $K
says "$OUT" "address 10.99.0.3"
says "$OUT" "public_key: $PUB"
lacks "$OUT" preshared_key
run 0 host show web2 --json
says "$OUT" "\"public_key\": \"$K\""
[ ! -e web2-agent.yaml ] || complain "a file was written for a host with a key"

# the default name of the file; an existing one is never overwritten, and then no host is added
run 0 host add web3
mode web3-agent.yaml 600
echo mine >web4-agent.yaml
run 1 host add web4
says "$ERR" "[E1041]"
[ "$(cat web4-agent.yaml)" = mine ] || complain "a file was overwritten"
run 0 host list
lacks "$OUT" web4

# preshared key, on both sides
P=ISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+P0A=
echo "$P" >psk
chmod 600 psk
run 0 host add psk1 --preshared-key-file psk --agent-config psk1.yaml
grep -qF "preshared_key: $P" "$Y" && grep -qF "preshared_key: $P" psk1.yaml || complain "the preshared key is not on both sides"
lacks "$OUT$ERR" "$P"
run 0 host add psk2 --public-key $K --preshared-key-file psk
says "$OUT" "preshared_key: $P"
echo short >psk
run 1 host add psk3 --public-key $K --preshared-key-file psk
says "$ERR" "[E1023]"
run 1 host add psk3 --public-key $K --preshared-key-file missing
says "$ERR" "[E1041]"

# what is refused leaves the file as it is
before=$(cat "$Y")
run 1 host add web1
says "$ERR" "[E1022]"
run 1 host add n --public-key AAAA
says "$ERR" "[E1023]"
run 1 host add n --vpn-addr 10.99.0.300
says "$ERR" "[E1024]"
run 1 host add n --vpn-addr 10.99.0.1 --public-key $K
says "$ERR" "[E1024]"
run 1 host add n --vpn-addr 10.99.0.2 --public-key $K
says "$ERR" "in use"
run 2 host add n --endpoint 192.0.2.7
run 2 host add n --endpoint 192.0.2.7:0
run 2 host add all
run 2 host add 'a b'
run 2 host add ../x
run 2 host add
run 2 host add a b
run 1 host rename nobody x
says "$ERR" "[E1021]"
run 1 host rename web1 web2
says "$ERR" "[E1022]"
run 2 host rename web1 'b ad'
run 1 host remove nobody
says "$ERR" "[E1021]"
[ "$before" = "$(cat "$Y")" ] || complain "a refused change changed the file"

# addresses: the lowest that is free, a given one, a full net
run 0 host remove web2
run 0 host add again --public-key $K
says "$OUT" "address 10.99.0.3"
run 0 host add far --public-key $K --vpn-addr 10.99.0.200
run 0 host add six --public-key $K --vpn-addr fd00::7
mkdir "$T/small"
sed 's,10.99.0.1/24,10.99.0.1/30,; /^hosts/,$d' "$Y" >"$T/small/nefia.yaml"
chmod 600 "$T/small/nefia.yaml"
NEFIA_HOME=$T/small "$B/nefia" host add one --public-key $K >/dev/null || complain "the one free address of a /30"
NEFIA_HOME=$T/small "$B/nefia" host add two --public-key $K 2>&1 | grep -qF "[E1024]" || complain "a full net"

# changes keep the rest
printf '# my machines\n' >>"$Y"
run 0 host rename web1 front1
run 0 host show front1
says "$OUT" "user: deploy"
run 1 host show web1
says "$ERR" "[E1021]"
grep -q '^# my machines$' "$Y" || complain "the comment is gone"
grep -q '# Tried in order' "$Y" || complain "init's comment is gone"
run 0 host remove front1
run 0 host list --json
lacks "$OUT" front1

# an invite again: the host in question first, and a next step that can be typed as it stands
run 1 vpn reinvite --name nobody
says "$ERR" "there is no host nobody"
run 0 host add twice --public-key $K
run 1 vpn invite --name twice --os linux --endpoint 192.0.2.1:51820 --listen=false
says "$ERR" "nefia vpn reinvite --name twice --endpoint IP:PORT"
run 0 host remove twice
printf 'vpn: {private_key: %s, address: 10.99.0.1/24}\nhosts: [{id: a}]\n' $K >"$Y"
run 1 host add x --public-key $K
says "$ERR" "[ ]"

# in the way: no room to write, others may read it, another writer
chmod 644 "$Y"
run 1 host list
says "$ERR" "[E1003]"
chmod 600 "$Y"
run 0 --config "$Y" host list
exit $bad
