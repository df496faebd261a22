#!/usr/bin/env bash
# libssh2-edit.sh DIR - our changes to libssh2's sources at build time. Each fails when its place is not found.
set -euo pipefail
cd "$1/src"

# edit FILE COUNT PERL-EXPRESSION: the substitution must happen exactly COUNT times
edit() {
	perl -0pi -e "my \$n = 0; $3; if (\$n != $2) { print STDERR \"libssh2-edit: $1: \$n places instead of $2\\n\"; exit 1 }" "$1"
}

# A channel that closes without an exit status said 0, success: it says -1.
edit channel.c 1 \
	'$n += s{(        memcpy\(session->open_channel->channel_type, channel_type,\n\s*channel_type_len\);\n)}{$1        session->open_channel->exit_status = -1;\n}'
