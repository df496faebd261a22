#!/bin/bash
# What is offered in place of the word that is being typed, asked of a real bash with the real script.
cd "$(dirname "$0")/../../.." || exit 1
B=$(cd "${BUILD:-build}" && pwd)
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
export NEFIA_HOME=$T/home PATH=$B:$PATH
"$B/nefia" init >/dev/null 2>&1 || exit 1
"$B/nefia" host add web1 --group front --tag blue --agent-config "$T/a.yaml" >/dev/null || exit 1
"$B/nefia" host add web2 --agent-config "$T/b.yaml" >/dev/null || exit 1
bad=0
offers() { # offers EXPECTED... -- WORD...
	local want=""
	while [ "$1" != -- ]; do want="$want $1"; shift; done
	shift
	local got
	got=$(bash -c 'source <(nefia completion bash); COMP_WORDS=(nefia "$@"); COMP_CWORD=$#; _nefia; echo "${COMPREPLY[*]}"' _ "$@")
	for w in $want; do
		case " $got " in *" $w "*) ;; *) echo "for '$*': no '$w' in: $got"; bad=1 ;; esac
	done
	[ -n "$want" ] || [ -z "$got" ] || { echo "for '$*': unexpected: $got"; bad=1; }
}
offers init host exec hub version -- ""
offers exec -- ex
offers --target --timeout --json -- exec --
offers --timeout -- exec --tim
offers web1 web2 front blue all -- exec --target ""
offers front -- host add x --group ""
offers blue -- host add x --tag ""
offers bash zsh fish -- completion ""
offers ls put get cat rm mkdir mv stat chmod df find -- fs ""
offers --recursive --resume -- fs get --
offers --json -- host list --
offers web1 web2 -- exec -t we
offers web1 web2 -- forward we
offers add list show rename remove -- host ""
offers --public-key --agent-config -- host add x --
offers stop logs -- hub ""
offers -- exec --target nothing-begins-so
offers -- no-such-command ""
for s in bash zsh fish; do
	[ -n "$("$B/nefia" completion $s)" ] || { echo "no script for $s"; bad=1; }
done
"$B/nefia" completion tcsh 2>/dev/null && { echo "tcsh is not refused"; bad=1; }
exit $bad
