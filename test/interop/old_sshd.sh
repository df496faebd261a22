#!/bin/bash
# an sshd of an earlier release (third_party/old-sshd.sh): what is used daily, by the scripts that test it with the current one
DIR=$(cd "$(dirname "$0")/.." && pwd)
BUILD=${BUILD:-$DIR/../build}
OLD=$BUILD/old-sshd/sshd
[ -x "$OLD" ] || { echo "SKIP old_sshd: no older sshd (third_party/old-sshd.sh fetches one)"; exit 77; }
version=$("$OLD" -V 2>&1 | grep -o 'OpenSSH_[0-9.p]*')
echo "against $version"
for script in ssh fs fs_root; do
	out=$(NEFIA_SSHD=$OLD BUILD=$BUILD "$DIR/e2e/$script.sh" 2>&1)
	case $? in
	0) echo "$out" | grep -a '^PASS' ;;
	77) echo "$out" | grep -a '^SKIP' ;;
	*) printf '%s\n' "$out" | tail -20; echo "FAIL old_sshd: $script.sh against $version" >&2; exit 1 ;;
	esac
done
echo "PASS old_sshd"
