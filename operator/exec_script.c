/*
 * operator/exec_script.c - a local script on a remote machine, by its shebang, without a file there.
 *
 * The script is the first part of the remote command's standard input. A shell there lets one process pass it on into a pipe,
 * and replaces itself with the interpreter, which reads /dev/fd/3, the other end of that pipe:
 *
 *	/bin/sh -c 'exec 4<&0; cat | { exec 3<&0 0</dev/null 4<&-; exec "$@"; }' nefia INTERPRETER /dev/fd/3 ARG...
 *
 * So nothing can be left behind, whatever is killed. What the interpreter reads as its standard input is what follows the
 * script there; then the script must be cut off to the byte, which dd does when it reads single ones. Interpreters that
 * insist on a seekable file (node) cannot be used.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "operator/exec.h"
#include "os/file.h"

#define SCRIPT_BYTES_MAX (16u << 20)

struct text {
	char *p;
	size_t n, size;
};

static void put(struct text *t, const char *s)
{
	while (*s && t->n < t->size)
		t->p[t->n++] = *s++;
}

/* As one word for any login shell: in single quotes, a quote itself between them. */
static void put_quoted(struct text *t, const char *s, size_t len)
{
	put(t, " '");
	for (size_t i = 0; i < len && t->n < t->size; i++) {
		char c[2] = { s[i], '\0' };

		put(t, s[i] == '\'' ? "'\\''" : c);
	}
	put(t, "'");
}

/* What stands behind #!: the interpreter, and the rest of the line as one argument, as the kernel has it. */
static bool read_shebang(const char *script, size_t len, struct bytes *ret_program, struct bytes *ret_arg)
{
	const char *end = memchr(script, '\n', len), *p = script + 2, *program;

	end = end ? end : script + len;
	while (end > p && strchr(" \t\r", end[-1]))
		end--;
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	program = p;
	while (p < end && *p != ' ' && *p != '\t')
		p++;
	*ret_program = (struct bytes){ (const uint8_t *)program, (size_t)(p - program) };
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	*ret_arg = (struct bytes){ (const uint8_t *)p, (size_t)(end - p) };
	return ret_program->len > 0 && !memchr(program, '\0', (size_t)(end - program));
}

enum err exec_script_command(const char *script, size_t len, bool with_input, char *const *args, int n_args, char *ret,
			     size_t size)
{
	struct bytes program = { (const uint8_t *)"/bin/sh", 7 }, arg = { NULL, 0 };
	struct text t = { ret, 0, size };
	char feed[64] = "cat";

	if (len >= 2 && script[0] == '#' && script[1] == '!' && !read_shebang(script, len, &program, &arg))
		return ERR_FORMAT;
	if (with_input)
		snprintf(feed, sizeof(feed), "dd bs=1 count=%zu 2>/dev/null", len);
	/* 3: the script; 4: what came from us. "$@" begins with the interpreter. */
	put(&t, "/bin/sh -c 'exec 4<&0; ");
	put(&t, feed);
	put(&t, " | { exec 3<&0 ");
	put(&t, with_input ? "0<&4" : "0</dev/null");
	put(&t, " 4<&-; exec \"$@\"; }'");
	put(&t, " nefia");
	put_quoted(&t, (const char *)program.p, program.len);
	if (arg.len)
		put_quoted(&t, (const char *)arg.p, arg.len);
	put(&t, " /dev/fd/3");
	for (int i = 0; i < n_args; i++)
		put_quoted(&t, args[i], strlen(args[i]));
	if (t.n >= t.size)
		return ERR_TOO_LONG;
	ret[t.n] = '\0';
	return OK;
}

int exec_script_load(struct exec *x, const char *path, char *const *args, int n_args)
{
	enum err e = os_file_read(path, SCRIPT_BYTES_MAX, &x->script, &x->script_len);

	if (e == OK)
		e = exec_script_command(x->script, x->script_len, x->input_fd >= 0, args, n_args, x->command,
					sizeof(x->command));
	if (e == ERR_FORMAT)
		return cli_usage(x->cli, "%s: its first line names no interpreter", path);
	if (e == ERR_TOO_LONG && x->script)
		return cli_usage(x->cli, "the script's arguments are longer than %d bytes", EXEC_COMMAND_MAX);
	if (e != OK)
		return cli_error(x->cli, 1041, "%s: %s", path, err_text(e)), EXEC_STATUS_OUR_FAILURE;
	return 0;
}
