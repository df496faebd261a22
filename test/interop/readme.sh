#!/bin/bash
# The README leads a newcomer from nothing to a shell on a second machine: its lines, word for word, run by two ordinary users in
# two network namespaces. "operator$" lines run at 192.0.2.1, "web1$" lines on the other machine; in place of 'eyJo...' stands the
# line that `invite` printed. It must take less than two minutes, most of which is typing. Then the chapter "Daily use" of doc/use.md in the same way.
set -u
umask 022
HERE=$(cd "$(dirname "$0")" && pwd)
BUILD=$(cd "${BUILD:-$HERE/../../build}" && pwd)
README=$HERE/../../README.md
USE=$HERE/../../doc/use.md
TEST_NAME=readme
OP=nefia-ro$$ WEB=nefia-rw$$
NAMESPACES="$OP $WEB"
LOGS="*.out sshd.log"
NEEDS="unshare setpriv script ssh-keygen ssh-keyscan sshd"
. "$HERE/../lib/netns.sh"
chmod 755 "$T"
mkdir "$T/bin"
cp "$BUILD/nefia" "$BUILD/nefia-agent" "$T/bin"
ip link add e0 netns $OP type veth peer name e0 netns $WEB || fail "veth"
ip -n $OP addr add 192.0.2.1/24 dev e0 && ip -n $OP link set e0 up
ip -n $WEB addr add 192.0.2.7/24 dev e0 && ip -n $WEB link set e0 up

# Two people: ann works at the operator's machine and has an account on web1, where bob runs the agent.
ANN=64931 BOB=64932
for u in ann-op ann-web bob; do mkdir -m 700 "$T/$u"; done
people() { cat /etc/passwd; echo "ann:x:$ANN:$ANN::$T/$1:/bin/sh"; echo "bob:x:$BOB:$BOB::$T/bob:/bin/sh"; }
people ann-op >"$T/passwd-op"
people ann-web >"$T/passwd-web"
at() { # at NAMESPACE PASSWD COMMAND... : on that machine, whose /etc/passwd it is
	local ns=$1 passwd=$2
	shift 2
	ip netns exec "$ns" unshare --mount sh -c 'mount --bind "$0" /etc/passwd && exec "$@"' "$passwd" "$@"
}
person() { # person NAMESPACE PASSWD UID HOME COMMAND-LINE
	at "$1" "$2" setpriv --reuid "$3" --regid "$3" --clear-groups --no-new-privs \
		env -i HOME="$4" USER="$([ "$3" = $ANN ] && echo ann || echo bob)" PATH="$T/bin:$PATH" TERM=dumb sh -c "$5"
}
operator() { person $OP "$T/passwd-op" $ANN "$T/ann-op" "$1"; }
web1() { person $WEB "$T/passwd-web" $BOB "$T/bob" "$1"; }

# What every machine with ssh has already: an sshd, and ann's key in her account there.
mkdir -m 700 "$T/ann-op/.ssh" "$T/ann-web/.ssh"
ssh-keygen -q -t ed25519 -N '' -f "$T/ann-op/.ssh/id_ed25519"
cp "$T/ann-op/.ssh/id_ed25519.pub" "$T/ann-web/.ssh/authorized_keys"
chown -R $ANN:$ANN "$T/ann-op" "$T/ann-web"
chown $BOB:$BOB "$T/bob"
ssh-keygen -q -t ed25519 -N '' -f "$T/host_key"
mkdir -p -m 755 /run/sshd
printf '%s\n' "Port 22" "ListenAddress 127.0.0.1" "HostKey $T/host_key" "StrictModes no" "UsePAM no" "PidFile none" "Subsystem sftp internal-sftp" >"$T/sshd_config"
# The chapter "Daily use" has its files in /srv and /var/log of web1.
mkdir "$T/srv" "$T/log"
at $WEB "$T/passwd-web" sh -c 'mount --bind "$0/srv" /srv && mount --bind "$0/log" /var/log && exec "$@"' "$T" "$(command -v sshd)" -D -e -f "$T/sshd_config" 2>"$T/sshd.log" &

# The lines, as they stand there.
sed -n '/^operator\$ nefia init/,/^```/p' "$README" | grep -E '^(operator|web1)\$' >"$T/lines"
[ "$(wc -l <"$T/lines")" = 5 ] || fail "the README's lines: $(cat "$T/lines")"
begin=$(calm_ms)
n=0
while IFS= read -r line <&3; do
	n=$((n + 1))
	what=$(sed -E 's/^[a-z0-9]*\$ +//' <<<"$line")
	case $line in
	*' invite '*)
		operator "$what" >"$T/invite.out" 2>&1 &
		INVITE=$!
		until_true 10 grep -q '^Listening' "$T/invite.out" || fail "$line"
		pasted=$(sed -n "s/^ *\(echo '.*\)/\1/p" "$T/invite.out")
		;;
	"web1$"*"echo 'eyJo...'"*)
		[ "$(sed "s/'eyJ[^']*'/'eyJo...'/" <<<"$pasted")" = "$what" ] || fail "invite prints another line than the README: $pasted"
		web1 "$pasted" >"$T/web1.out" 2>&1 &
		until_true 10 grep -q '^Enrollment successful!' "$T/web1.out" || fail "$line"
		wait $INVITE || fail "invite does not end well"
		;;
	*' shell '*)
		# a terminal, as a person has one
		operator "(sleep 1; echo 'echo here is \$(id -un)'; sleep 1; echo exit) | script -qefc '$what' /dev/null" >"$T/$n.out" 2>&1
		grep -q 'here is ann' "$T/$n.out" || fail "$line"
		;;
	*) operator "$what" >"$T/$n.out" 2>&1 || fail "$line" ;;
	esac
	ok "$(($(calm_ms) - begin)) ms  $line"
done 3<"$T/lines"
grep -q 'load average' "$T/4.out" || fail "uptime"
[ $(($(calm_ms) - begin)) -lt 120000 ] || fail "it took longer than two minutes"

# "Daily use", line by line, with the files that it speaks of. Only vim is left to tools.sh, which has a terminal for it.
operator 'cd && mkdir -p site/sub logs && echo page >site/index.html && echo part >site/sub/part && head -c 300000 /dev/urandom >big.img
	printf "#!/bin/sh\necho fixed \$1\n" >fix.sh'
mkdir "$T/srv/old"
echo line >"$T/log/app.log"
head -c 3000000 /dev/urandom >"$T/srv/disk.img"
touch "$T/srv/old/a.tmp"
git init -q --bare "$T/ann-web/repo.git" 2>/dev/null
chown -R $ANN:$ANN "$T/srv" "$T/log" "$T/ann-web"
sed -i 's/^\( *\)- id: web1/&\n\1  group: web/' "$T/ann-op/.nefia/nefia.yaml"
operator 'nefia ssh-config --install' >"$T/config.out" 2>&1 || fail "ssh-config: $(cat "$T/config.out")"
sed -n '/^## Daily use/,/^## When/p' "$USE" | grep '^\$ ' | grep -v '^\$ vim' >"$T/lines"
n_lines=$(wc -l <"$T/lines")
[ "$n_lines" -ge 16 ] || fail "the chapter's lines: $(cat "$T/lines")"
while IFS= read -r line <&3; do
	what=${line#\$ }
	command -v "${what%% *}" >/dev/null || [ -x "$T/bin/${what%% *}" ] || continue
	case $what in
	*"until Ctrl-C") what="timeout -s INT 2 ${what%%#*}" ;;
	"ssh "*) what="echo exit | $what" ;;
	esac
	operator "cd; $what" >"$T/d.out" 2>&1
	status=$?
	[ $status = 0 ] || { [ $status = 124 ] && [[ $what == timeout* ]]; } || fail "$line: $status: $(cat "$T/d.out")"
	ok "$line"
done 3<"$T/lines"
operator 'nefia forward --stop all; nefia hub stop' >/dev/null 2>&1
echo "PASS $TEST_NAME ($N_CHECKS checks)"
