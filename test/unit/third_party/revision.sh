#!/usr/bin/env bash
# revision.sh - a pinned package revision that has vanished: the newest of the same upstream version is taken when the
# archive's key signed for it, and in no other case. The archive and its key are made here and thrown away.
. "$(dirname "$0")/archive.bash"
for c in gpg gpgv xz; do command -v $c >/dev/null || { echo "$c is not installed"; exit 77; }; done
export GNUPGHOME=$t/gnupg DEB_KEYRING=$t/archive.gpg DEB_SUITES="old new"
mkdir -m 700 "$GNUPGHOME"
key() { gpg --batch --quiet --passphrase '' --quick-generate-key "$1" ed25519 sign never 2>/dev/null; }
key archive@test
key stranger@test
gpg --batch --quiet --export archive@test >"$DEB_KEYRING"

# revision SUITE REVISION CONTENT: a package revision into the pool and into the list of a suite
revision() {
	local file=foo_$2.debian.tar.xz
	printf '%s' "$3" >"$archive/pool/main/x/$file"
	mkdir -p "$archive/dists/$1/main/source"
	cat >>"$archive/dists/$1/main/source/Sources" <<-X
	Package: foo
	Binary: libfoo-dev
	Version: $2
	Directory: pool/main/x
	Files:
	 0123 4 $file
	Checksums-Sha256:
	 $(printf 00 | sha256sum | cut -d' ' -f1) 9 foo_${2%-*}.orig.tar.gz
	 $(sum "$archive/pool/main/x/$file") 4 $file

	X
}

# sign SUITE KEY [VALID-UNTIL]: pack the list and sign the suite's index
sign() {
	local d=$archive/dists/$1
	xz -kf "$d/main/source/Sources"
	{
		echo "Suite: $1"
		echo "Valid-Until: ${3:-Thu, 01 Jan 2099 00:00:00 UTC}"
		echo "MD5Sum:"
		echo " 0123 4 main/source/Sources.xz"
		echo "SHA256:"
		echo " $(sum "$d/main/source/Sources.xz") 4 main/source/Sources.xz"
	} >"$d/Release"
	gpg --batch --quiet --yes --local-user "$2" --clearsign --output "$d/InRelease" "$d/Release"
}

pinned=$t/dl/foo_1.0-1.debian.tar.xz
pin=$(printf vanished | sha256sum | cut -d' ' -f1)
get() { third_party/fetch.sh "$pinned" "$pin" main/x/foo_1.0-1.debian.tar.xz "$@" >"$t/out" 2>&1; }
get_newest() { get -r foo 1.0; }
no_file() {
	[ -z "$(ls -A "$t/dl")" ] || fail "left behind: $(ls "$t/dl")"
}
again() { rm -f "$pinned" "$pinned.signed"; }

revision old 1.0-2 two
revision old 0.9-7 another-upstream-version
revision new 1.0-3+deb13u10 ten
revision new 1.0-3+deb13u9 nine
revision new 2.0-1 another-upstream-version
sign old archive@test
sign new archive@test

! get || fail "taken although the recipe does not allow another revision"
get_newest || fail "the newest revision was not taken"
[ "$(cat "$pinned")" = ten ] || fail "not the newest: $(cat "$pinned")"
said 'has vanished'
said 'foo 1.0-3+deb13u10 of new instead of the pinned foo_1.0-1.debian.tar.xz, signed by the archive'
grep -q "foo 1.0-3+deb13u10 new" "$pinned.signed" || fail "what was taken is not kept"

# The second run asks nobody, and knows what was taken from anything else.
DEB_ARCHIVE=file:///nowhere get_newest || fail "the second run is not offline"
[ ! -s "$t/out" ] || fail "the second run did something"
echo tampered >"$pinned"
! get_newest || fail "a tampered file was taken"
said 'is not what the recipe pins'
again

# The file is not what the list says: the next one that is.
echo altered >"$archive/pool/main/x/foo_1.0-3+deb13u10.debian.tar.xz"
get_newest || fail "the next revision was not taken"
[ "$(cat "$pinned")" = nine ] || fail "not the next: $(cat "$pinned")"
said 'foo_1.0-3+deb13u10.debian.tar.xz is not what the signed list of new says; refused'
again
rm "$archive"/pool/main/x/foo_1.0-3*
get_newest || fail "an older suite was not tried"
[ "$(cat "$pinned")" = two ] || fail "not the older one: $(cat "$pinned")"
again
DEB_SUITES=old
export DEB_SUITES

# The index: signed by another key, altered, unsigned, expired.
sign old stranger@test
! get_newest || fail "another key's signature was taken"
said 'the index of old is not signed by a key of the archive; refused'
no_file
sign old archive@test
sed -i 's/^Suite: .*/Suite: ols/' "$archive/dists/old/InRelease"
! get_newest || fail "an altered index was taken"
no_file
cp "$archive/dists/old/Release" "$archive/dists/old/InRelease"
! get_newest || fail "an unsigned index was taken"
no_file
sign old archive@test 'Thu, 02 Jan 2020 00:00:00 UTC'
! get_newest || fail "an expired index was taken"
said 'has expired'
# Unsigned text around the signed one counts for nothing.
sign old archive@test
good=$(sum "$archive/dists/old/main/source/Sources.xz")
revision old 1.0-9 evil
xz -kf "$archive/dists/old/main/source/Sources"
printf 'SHA256:\n %s 4 main/source/Sources.xz\n' "$(sum "$archive/dists/old/main/source/Sources.xz")" |
	cat - "$archive/dists/old/InRelease" >"$t/inrelease"
cp "$t/inrelease" "$archive/dists/old/InRelease"
[ "$good" != "$(sum "$archive/dists/old/main/source/Sources.xz")" ]
! get_newest || fail "unsigned text was believed"
# The list is not what the index says.
sign old archive@test
revision old 1.0-10 evil
xz -kf "$archive/dists/old/main/source/Sources"
! get_newest || fail "an altered list was taken"
said 'the package list of old/main has a wrong checksum; refused'
no_file
# Without a keyring there is no other revision.
DEB_KEYRING=$t/none
export DEB_KEYRING
! get_newest || fail "taken without a keyring"
said "without gpgv and the archive's keyring no other is taken"
no_file
