#!/usr/bin/env bash
# setup.sh [build|test] - see that everything the build (or the tests too) needs is installed.
# Installs what is missing when it may (root, or sudo without a password); otherwise says what is missing and
# the one command that installs it. Calls no package manager when nothing is missing, so it works offline then.
set -euo pipefail
what=${1:-build}

# The one table: what | how to see that it is there | Debian and Ubuntu | Fedora.
# A probe "h:X" looks for a header, "c:X" for a command. Of the classes, "interop" (single tests skip without them) and "fast"
# (a faster cipher, on x86-64) are wanted; the others must be there.
table() {
	cat <<'T'
build c:gcc gcc gcc
build h:stdio.h libc6-dev glibc-devel
build c:make make make
build c:pkg-config pkg-config pkgconf-pkg-config
build c:curl curl curl
build c:xz xz-utils xz
build c:gzip gzip gzip
build c:perl perl perl
build c:patch patch patch
build c:gpgv gpgv gnupg2
build h:sodium.h libsodium-dev libsodium-devel
build h:uv.h libuv1-dev libuv-devel
build h:yaml.h libyaml-dev libyaml-devel
build h:jansson.h libjansson-dev jansson-devel
build h:seccomp.h libseccomp-dev libseccomp-devel
build h:openssl/evp.h libssl-dev openssl-devel
build h:zlib.h zlib1g-dev zlib-devel
fast h:intel-ipsec-mb.h libipsec-mb-dev intel-ipsec-mb-devel
test h:cmocka.h libcmocka-dev libcmocka-devel
test c:sshd openssh-server openssh-server
test c:ssh-keygen openssh-client openssh-clients
test c:tmux tmux tmux
test c:ip iproute2 iproute
test c:setpriv util-linux util-linux
interop c:wireguard-go wireguard-go wireguard-go
interop c:wg wireguard-tools wireguard-tools
interop c:nft nftables nftables
interop c:python3 python3 python3
interop c:mandoc mandoc mandoc
interop c:gpg gnupg gnupg2
T
}

PATH=$PATH:/usr/sbin:/sbin:/usr/local/sbin
has() {
	case $1 in
	c:*) command -v "${1#c:}" >/dev/null 2>&1 ;;
	h:*) printf '#include <stddef.h>\n#include <stdio.h>\n#include <stdarg.h>\n#include <stdint.h>\n#include <setjmp.h>\n#include <%s>\n' "${1#h:}" |
		"${CC:-gcc}" -E -x c - >/dev/null 2>&1 ;;
	esac
}

family=unknown
if command -v apt-get >/dev/null 2>&1; then family=debian
elif command -v dnf >/dev/null 2>&1; then family=fedora
fi

# Sets missing (required packages) and wanted (the interop tests skip without them).
look() {
	missing='' wanted=''
	while read -r class probe deb rpm; do
		[ "$what" = build ] && [ "$class" != build ] && [ "$class" != fast ] && continue
		[ "$class" = fast ] && [ "$(uname -m)" != x86_64 ] && continue
		has "$probe" && continue
		local pkg=$deb
		[ $family = fedora ] && pkg=$rpm
		if [ "$class" = interop ] || [ "$class" = fast ]; then wanted="$wanted $pkg"; else missing="$missing $pkg"; fi
	done < <(table)
}

look
[ -z "$missing$wanted" ] && exit 0

sudo=
if [ "$(id -u)" != 0 ]; then
	if sudo -n true 2>/dev/null; then sudo='sudo -n'; else sudo=none; fi
fi

# Installing openssh-server must neither start a daemon on the machine nor leave one running.
install_debian() {
	local policy=/usr/sbin/policy-rc.d made='' rc=0
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
		$sudo chmod 755 $policy
		made=1
	fi
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get update -q </dev/null &&
		$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" </dev/null || rc=$?
	[ -n "$made" ] && $sudo rm -f $policy
	return $rc
}

as_root() { [ "$(id -u)" = 0 ] || printf 'sudo '; }
command_for() {
	case $family in
	debian) echo "$(as_root)apt-get install -y --no-install-recommends$1" ;;
	fedora) echo "$(as_root)dnf install -y$1" ;;
	*) echo "(neither apt-get nor dnf here: install these by hand)" ;;
	esac
}

if [ "$sudo" = none ] || [ $family = unknown ] || [ "${NEFIA_NO_INSTALL:-0}" = 1 ]; then
	if [ -z "$missing" ]; then
		echo "setup: not installed (tests will be skipped, or a slower cipher used):$wanted"
		exit 0
	fi
	{ echo "setup: missing packages:$missing$wanted"
	echo "setup: install them with:"
	echo "    $(command_for "$missing$wanted")"; } >&2
	exit 1
fi

echo "setup: installing:$missing$wanted"
# shellcheck disable=SC2086 # lists of package names
case $family in
debian) install_debian $missing $wanted || install_debian $missing ;;
fedora) $sudo dnf install -y $missing $wanted </dev/null || $sudo dnf install -y $missing </dev/null ;;
esac
look
if [ -n "$missing" ]; then
	echo "setup: still missing after the installation:$missing" >&2
	exit 1
fi
[ -z "$wanted" ] || echo "setup: not available (tests will be skipped, or a slower cipher used):$wanted"
