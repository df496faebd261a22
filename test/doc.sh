#!/usr/bin/env bash
# doc.sh [FILE...] - what documents and comments name is there: files of the repository, and targets of make. FILE: these alone.
# A name with a folder is looked for there, one without in any folder; what people's own files are called is in MADE.
set -uo pipefail
cd "$(dirname "$0")/.."
MADE='^(.*/)?(deploy|fix|NAME|x)\.[a-z]+$|^[A-Z_]+|_fuzz\.c$'
bad=0
complain() { echo "doc: $*"; bad=1; }

declare -A is_path is_name is_target
while read -r f; do
	is_path[$f]=1 is_name[${f##*/}]=1
	while [[ $f == */* ]]; do f=${f#*/} is_path[$f]=1; done # doc/ says unit/ssh/x_test.c
done < <(git ls-files --cached --others --exclude-standard)
while read -r t; do is_target[$t]=1; done < <(git ls-files '*.mk' Makefile | xargs sed -nE 's/^([a-z][a-zA-Z0-9 _-]*):([^=].*)?$/\1/p' | tr ' ' '\n' | sort -u)

# "file:line:text" of documents, and of the comments of sources
texts() { awk -v OFS=: '
	FNR == 1 { inside = 0; doc = FILENAME ~ /\.md$/ }
	doc { print FILENAME, FNR, $0; next }
	{
		line = $0
		if (!inside && (at = index(line, "/*"))) { inside = 1; line = substr(line, at + 2) }
		if (inside) {
			if ((at = index(line, "*/"))) { inside = 0; line = substr(line, 1, at - 1) }
			print FILENAME, FNR, line
		}
	}' "$@"; }

check() { # check FILE LINE WORD
	[[ $3 =~ $MADE ]] && return
	case $3 in
	*/*) [ "${is_path[$3]-}" ] || [ -e "${1%/*}/$3" ] || [ -e "$3" ] || complain "$1:$2: there is no $3" ;;
	*) [ "${is_name[$3]-}" ] || complain "$1:$2: there is no $3 in any folder" ;;
	esac
}

[ $# -gt 0 ] || mapfile -t all < <(git ls-files --cached --others --exclude-standard README.md 'doc/*.md' '*.[ch]' ':!third_party')
[ $# -eq 0 ] || all=("$@")
all_texts=$(texts "${all[@]}")
while IFS=: read -r file line word; do
	check "$file" "$line" "$word"
done < <(awk '{
	n = split($0, part, ":"); head = part[1] ":" part[2]; text = substr($0, length(head) + 2)
	while (match(text, /[A-Za-z0-9_][A-Za-z0-9_\/.-]*\.(c|h|sh|py|mk|md)/)) {
		word = substr(text, RSTART, RLENGTH); before = RSTART > 1 ? substr(text, RSTART - 1, 1) : " "; text = substr(text, RSTART + RLENGTH)
		if (text !~ /^[A-Za-z0-9_]/ && text !~ /^\.[a-z]/ && before !~ /[\/.~$*}<>-]/)
			print head ":" word
	}
}' <<<"$all_texts")
while IFS=: read -r file line word; do
	[ "${is_target[$word]-}" ] || [[ $word =~ ^(unit|fuzz)-[a-z0-9_]+$ ]] || complain "$file:$line: make has no target $word"
done < <(grep -E '^[^:]*\.md:' <<<"$all_texts" | awk '{
	n = split($0, part, ":"); head = part[1] ":" part[2]; text = substr($0, length(head) + 2)
	while (match(text, /(`|^  +|\$ )([A-Z_]+=[^ ]+ )*make [a-z][a-z0-9-]*/)) {
		word = substr(text, RSTART, RLENGTH); text = substr(text, RSTART + RLENGTH); sub(/.* /, "", word)
		print head ":" word
	}
}')
exit $bad
