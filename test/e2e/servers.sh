#!/bin/bash
# differently configured SSH servers: exec, shell, files and forwards against each. Where a server refuses, the error says what it
# refused; whatever it allows works.
. "$(dirname "$0")/lib.sh"
need_python
command -v script >/dev/null || skip "script(1) is not installed"
start_sshd
operator_init
add_agent web
start_agent web
grep -v '^Subsystem\|^HostKey\|^MaxSess' "$T/sshd/config" >"$T/sshd/base"
ssh-keygen -q -t rsa -b 3072 -N '' -f "$T/sshd/rsa" </dev/null
ssh-keygen -q -t ecdsa -N '' -f "$T/sshd/ecdsa" </dev/null
head -c 3000000 /dev/urandom >"$T/src"
mkdir "$T/far"

# What each way of use is; status in the exit status, output in the same file as errors.
use_exec() { # standard input, both outputs, an exit status
	"$NEFIA" exec --target web -- 'cksum; echo err >&2; exit 3' <"$T/src"
	[ $? = 3 ] || return 1
	"$NEFIA" exec --target web -- 'cat; sleep 0.2' <"$T/src" | cmp - "$T/src"
}
use_shell() { script -qec "$NEFIA shell web 'test -t 0 && stty size && exit 4'" /dev/null; [ $? = 4 ]; }
use_fs() {
	rm -f "$T/far/dst" "$T/back"
	"$NEFIA" fs put "$T/src" "web:$T/far/dst" && "$NEFIA" fs get "web:$T/far/dst" "$T/back" && cmp "$T/src" "$T/back" &&
		"$NEFIA" fs ls -l "web:$T/far"
}
banner_at() { banner=$(exec 3<>"/dev/tcp/127.0.0.1/$1" && timeout 5 head -c 4 <&3) && [ "$banner" = SSH- ]; }
use_forward() { # [--remote]: the sshd itself is what is reached, from here or from there
	local forward port
	"$NEFIA" forward ${1:-} web "0:127.0.0.1:$SSH_PORT" >"$T/f.out" 2>"$T/f.err" &
	forward=$!
	wait_until 5 sh -c "grep -q Forwarding '$T/f.out' || ! kill -0 $forward"
	port=$(sed -n 's/^Forwarding [^ ]*:\([0-9]*\) .*/\1/p' "$T/f.out")
	banner_at "${port:-1}"
	r=$?
	kill "$forward" 2>/dev/null
	wait "$forward"
	cat "$T/f.err"
	return $r
}
use_local() { use_forward; }
use_remote() { use_forward --remote; }

serve() { # serve LINE... : sshd with these lines before all others; the first one counts
	{
		printf '%s\n' "$@"
		grep -q '^HostKey ' <<<"$*" || echo "HostKey $T/sshd/host_key"
		grep -q '^Subsystem' <<<"$*" || echo 'Subsystem sftp internal-sftp'
		cat "$T/sshd/base"
	} >"$T/sshd/config"
	hup_sshd
}

# row NAME "USE=EXPECTED ..." LINE... : each use that is not named works; EXPECTED is what the error says, _ for a blank
row() {
	local name=$1 expected=$2 use want out
	shift 2
	"$NEFIA" hub stop >/dev/null 2>&1
	wait "${HUB_PID:-}" 2>/dev/null
	rm -f "$NEFIA_HOME/known_hosts"
	serve "$@"
	start_hub
	for use in exec shell fs local remote; do
		want=$(grep -o "\b$use=[^ ]*" <<<"$expected" | cut -d= -f2 | tr _ ' ')
		N_CHECKS=$((N_CHECKS + 1))
		if "use_$use" >"$T/out" 2>&1 </dev/null; then
			[ -z "$want" ] || fail "$name: $use works, which was to be refused"
		elif [ -z "$want" ]; then
			fail "$name: $use: $(cat "$T/out")"
		else
			check "$name: $use" contains "$(cat "$T/out")" "$want"
		fi
	done
}
all_say() { for use in exec shell fs local remote; do printf '%s=%s ' $use "$1"; done; } # each use fails by this

# Old servers, as far as one can be asked for: what is still sound there works.
row default ""
row one_curve "" "KexAlgorithms ecdh-sha2-nistp256" "Ciphers aes128-ctr" "MACs hmac-sha2-256" \
	"HostKeyAlgorithms rsa-sha2-256" "HostKey $T/sshd/rsa"
row with_worse_ones "" "KexAlgorithms diffie-hellman-group14-sha1,ecdh-sha2-nistp256" "Ciphers 3des-cbc,aes256-ctr" \
	"MACs hmac-sha1,hmac-sha2-256-etm@openssh.com" "HostKey $T/sshd/ecdsa"
row gcm_without_macs "" "Ciphers aes256-gcm@openssh.com" "MACs hmac-sha1"
# What is not, is named with what both have, every time: the breaker does not hide it.
row old_group "$(all_say the_server_has_diffie-hellman-group14-sha256)" "KexAlgorithms diffie-hellman-group14-sha256"
row only_cbc "$(all_say no_cipher_in_common:_the_server_has_aes128-cbc,_we_have_aes128-gcm)" "Ciphers aes128-cbc"
row only_chacha "$(all_say no_cipher_in_common:_the_server_has_chacha20)" "Ciphers chacha20-poly1305@openssh.com"
row sha1_mac "$(all_say no_MAC_in_common:_the_server_has_hmac-sha1,)" "Ciphers aes128-ctr" "MACs hmac-sha1"
row sha1_host_key "$(all_say no_host_key_algorithm_in_common:_the_server_has_ssh-rsa,)" "HostKeyAlgorithms ssh-rsa" \
	"HostKey $T/sshd/rsa"
serve "Ciphers aes128-cbc"
expect 255 "nothing in common" nefia exec --target web -- true
check "has its code" contains "$ERR" "[E1039]"

# Restricted ones.
row one_session "" "MaxSessions 1" "RekeyLimit 1M"
row no_session "exec=[E1040] shell=(MaxSessions) fs=(MaxSessions)" "MaxSessions 0"
row no_sftp "fs=the_server's_SFTP_ended_at_once" "Subsystem sftp /nonexistent"
row other_subsystem "fs=the_server_offers_no_file_transfer" "Subsystem other /bin/true"
row forced_command "exec=forced shell=forced fs=does_not_speak_SFTP" "ForceCommand echo forced; exit 9"
row only_sftp "exec=sftp_connections_only shell=sftp_connections_only" "ForceCommand internal-sftp"
row no_forwards "local=forbids_this_forward remote=[E1040]" "AllowTcpForwarding no"
row local_forwards "remote=the_server_does_not_listen_for_others" "AllowTcpForwarding local"
row no_target "local=forbids_this_forward remote=[E1040]" "PermitOpen none" "PermitListen none"
row no_terminal "shell=gives_no_terminal" "PermitTTY no"
row short_of_time "" "LoginGraceTime 2" "MaxAuthTries 1" "Compression yes" "ClientAliveInterval 1" "ClientAliveCountMax 2"
row no_entry "$(all_say refused_by_the_server)" "DenyUsers *"
row other_login "remote=[E1034]$(for u in exec shell fs local; do printf ' %s=refused_by_the_server' $u; done)" "PubkeyAuthentication no"
done_all
