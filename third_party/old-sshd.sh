#!/usr/bin/env bash
# old-sshd.sh BUILD - an sshd of an earlier Debian release into BUILD/old-sshd, for test/interop/old_sshd.sh: unpacked beside its own
# libcrypto, not installed. It comes from where this machine's own packages come from, checked by apt as they are. Not to be had:
# said, and no error, for the test skips then. Does nothing once it was tried.
set -u
dir=${1:?}/old-sshd
release=bullseye # OpenSSH 8.4: before limits@openssh.com, and with RSA by SHA-1 still allowed
[ ! -e "$dir/tried" ] || exit 0
give_up() {
	echo "No older sshd: $1. test/interop/old_sshd.sh will skip."
	exit 0
}
mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial" "$dir/root"
touch "$dir/tried"
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || give_up "this is no Debian"
site=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null | grep -m1 'debian/\?$')
key=/usr/share/keyrings/debian-archive-keyring.gpg
[ -n "$site" ] && [ -r "$key" ] || give_up "this machine's packages do not come from Debian"
cd "$dir" || exit 0
echo "deb [signed-by=$key] $site $release main" >sources.list
old_apt() {
	timeout 120 apt-get -qq -o Dir::Etc::SourceList="$PWD/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$PWD/lists" \
		-o Dir::State::status=/dev/null -o Dir::Cache="$PWD/cache" -o APT::Sandbox::User=root "$@" >apt.log 2>&1
}
old_apt update || give_up "$(tail -1 apt.log)"
old_apt download openssh-server libssl1.1 || give_up "$(tail -1 apt.log)"
for deb in *.deb; do dpkg-deb -x "$deb" root || give_up "$deb cannot be unpacked"; done
rm -rf lists cache ./*.deb
lib=$(dirname "$(find "$PWD/root" -name 'libcrypto.so.*' | head -1)")
printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s/root/usr/sbin/sshd "$@"\n' "'$lib'" "'$PWD'" >sshd.new
chmod 755 sshd.new
./sshd.new -t -f /dev/null >apt.log 2>&1
./sshd.new -V 2>&1 | grep -q '^OpenSSH_' || give_up "it does not start here: $(tail -1 apt.log)"
mv sshd.new sshd
