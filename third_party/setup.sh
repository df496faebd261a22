#!/usr/bin/env bash
# setup.sh [build|demo|test|fuzz] - see that everything the build (the demo, the tests, fuzzing) needs is installed.
# Installs what is missing when it may (root, or sudo without a password); otherwise says what is missing and
# the one command that installs it. Calls no package manager when nothing is missing, so it works offline then.
set -euo pipefail
what=${1:-build}

# The one table: what | how to see that it is there | Debian and Ubuntu | Fedora.
# A probe "h:X" looks for a header, "c:X" for a command, "s:X" links with clang's sanitizer X. Of the classes, "interop"
# (single tests skip without them) and "fast"
# (a faster cipher, on x86-64) are wanted; the others must be there.
table() {
	cat <<T
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
demo c:sshd openssh-server openssh-server
demo c:ssh-keygen openssh-client openssh-clients
test c:tmux tmux tmux
test c:zsh zsh zsh
test c:fish fish fish
test c:rsync rsync rsync
test c:git git git
test c:dropbear dropbear-bin dropbear
test c:ip iproute2 iproute
demo c:setpriv util-linux util-linux
interop c:wireguard-go wireguard-go wireguard-go
interop c:wg wireguard-tools wireguard-tools
interop c:nft nftables nftables
interop c:python3 python3 python3
interop c:vim vim vim-enhanced
interop c:mandoc mandoc mandoc
interop c:gpg gnupg gnupg2
interop c:parallel-ssh pssh pssh
fuzz c:clang clang clang
fuzz s:fuzzer libclang-rt-$llvm-dev compiler-rt
T
}

PATH=$PATH:/usr/sbin:/sbin:/usr/local/sbin
has() {
	case $1 in
	c:*) command -v "${1#c:}" >/dev/null 2>&1 ;;
	h:*) printf '#include <stddef.h>\n#include <stdio.h>\n#include <stdarg.h>\n#include <stdint.h>\n#include <setjmp.h>\n#include <%s>\n' "${1#h:}" |
		"${CC:-gcc}" -E -x c - >/dev/null 2>&1 ;;
	s:*) printf 'int LLVMFuzzerTestOneInput(const char *p, unsigned long n) { return !p && n; }\n' |
		clang -fsanitize="${1#s:},address" -x c - -o /dev/null >/dev/null 2>&1 ;;
	esac
}

family=unknown
if command -v apt-get >/dev/null 2>&1; then family=debian
elif command -v dnf >/dev/null 2>&1; then family=fedora
fi

# The distribution's clang has its major version in the names of its parts. (Ubuntu 22.04 has the runtime in another one.)
llvm=14
if [ "$what" = fuzz ] && [ $family = debian ]; then
	llvm=$(clang -dumpversion 2>/dev/null || apt-cache depends clang 2>/dev/null | sed -n 's/.*Depends: clang-//p')
	llvm=${llvm%%[!0-9]*}
	llvm=${llvm:-14}
fi

# Sets missing (required packages) and wanted (the interop tests skip without them).
look() {
	missing='' wanted=''
	while read -r class probe deb rpm; do
		case $what:$class in
		*:build | *:fast | demo:demo | test:* | fuzz:*) ;;
		*) continue ;;
		esac
		[ "$class" = fast ] && [ "$(uname -m)" != x86_64 ] && continue
		[ "$class" = fuzz ] && [ "$what" != fuzz ] && continue
		[ "$class" = interop ] && [ "$what" = fuzz ] && continue
		has "$probe" && continue
		local pkg=$deb
		[ $family = fedora ] && pkg=$rpm
		if [ "$class" = interop ] || [ "$class" = fast ]; then wanted="$wanted $pkg"; else missing="$missing $pkg"; fi
	done < <(table)
}

look
[ -z "$missing$wanted" ] && exit 0

# What this machine does not offer is asked for once, not at each run.
tried=build/setup-tried-$what
if [ -z "$missing" ] && [ "$(cat "$tried" 2>/dev/null)" = "$wanted" ]; then
	exit 0
fi

sudo=
if [ "$(id -u)" != 0 ]; then
	if sudo -n true 2>/dev/null; then sudo='sudo -n'; else sudo=none; fi
fi

# Installing openssh-server must neither start a daemon on the machine nor leave one running.
policy=/usr/sbin/policy-rc.d
forbid_daemons() {
	[ $family = debian ] && [ ! -e $policy ] || return 0
	trap '$sudo rm -f $policy' EXIT
	printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
	$sudo chmod 755 $policy
}

refresh() { [ $family != debian ] || $sudo env DEBIAN_FRONTEND=noninteractive apt-get update -q </dev/null; }
install() {
	case $family in
	debian) $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" </dev/null ;;
	fedora) $sudo dnf install -y "$@" </dev/null ;;
	esac
}

# command_for PACKAGES: the one line that a person can paste
command_for() {
	local line
	case $family in
	debian) line="apt-get update && apt-get install -y --no-install-recommends$1" ;;
	fedora) line="dnf install -y$1" ;;
	*) echo "(neither apt-get nor dnf here: install these by hand)"; return ;;
	esac
	if [ "$(id -u)" = 0 ]; then echo "$line"
	elif command -v sudo >/dev/null 2>&1; then echo "sudo sh -c '$line'"
	else echo "su - -c '$line'" # without the "-" dpkg misses /usr/sbin in the PATH
	fi
}

if [ "$sudo" = none ] || [ $family = unknown ] || [ "${NEFIA_NO_INSTALL:-0}" = 1 ]; then
	if [ -z "$missing" ]; then
		[ "${NEFIA_QUIET:-0}" = 1 ] || echo "setup: not installed (tests will be skipped, or a slower cipher used):$wanted"
		exit 0
	fi
	{ echo "setup: missing packages:$missing$wanted"
	echo "setup: install them with:"
	echo "    $(command_for "$missing$wanted")"; } >&2
	exit 1
fi

echo "setup: installing:$missing$wanted"
forbid_daemons
refresh || true # an old list may do; if not, the installation says so
# shellcheck disable=SC2086 # lists of package names
# One package that is not to be had must not keep the others away.
install $missing $wanted || {
	[ -z "$missing" ] || install $missing || true
	for package in $wanted; do install "$package" || true; done
}
look
if [ -n "$missing" ]; then
	echo "setup: still missing after the installation:$missing" >&2
	exit 1
fi
[ -z "$wanted" ] && exit 0
mkdir -p build && echo "$wanted" >"$tried"
echo "setup: not available (tests will be skipped, or a slower cipher used):$wanted"
