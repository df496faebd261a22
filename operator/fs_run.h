/*
 * operator/fs_run.h - what the commands of `nefia fs` share: operands at hosts, patterns, errors, names on standard output.
 */
#ifndef OPERATOR_FS_RUN_H
#define OPERATOR_FS_RUN_H

#include "operator/cmd.h"
#include "operator/fs_client.h"
#include "operator/fs_name.h"

struct fs_names {
	char **v;
	size_t n, cap;
};
/** fs_names_add() - a copy of @name; false without memory */
bool fs_names_add(struct fs_names *l, const char *name);
void fs_names_sort(struct fs_names *l);
void fs_names_free(struct fs_names *l);

struct fs_run {
	struct cli *cli;
	struct fs_client client;
	bool open;
	bool failed;      /* some operation did: the exit status */
	bool told_lost;   /* the end of the session was said */
	bool literal;     /* --no-glob: names are taken as they are */
	bool json, show;  /* show: names go to a terminal, or are asked to be escaped */
};

/** fs_run_use() - have a session with @host; another host's is closed. Return: 0, or an exit status after a message. */
MUST_CHECK int fs_run_use(struct fs_run *run, const char *host);
void fs_run_close(struct fs_run *run);
/** fs_run_error() - one operation failed: said at once, with its code, and others go on */
void fs_run_error(struct fs_run *run, enum err e, const char *fmt, ...) PRINTF_LIKE(3, 4);
/** fs_run_local_error() - the same for what failed on this side: "PATH: why" by @errnum */
void fs_run_local_error(struct fs_run *run, const char *path, int errnum);
static inline int fs_run_status(const struct fs_run *run)
{
	return run->failed ? EXIT_FAILED : EXIT_OK;
}

/**
 * fs_run_expand() - what the pattern @path matches at the host, sorted; itself without its quotes when it is none, or when
 * nothing matches (as in a shell)
 * Return: false without memory, or when the session ended; both are said.
 */
MUST_CHECK bool fs_run_expand(struct fs_run *run, const char *path, struct fs_names *ret);
/**
 * fs_run_each() - @fn for each path that the operands name, in order, sessions opened on the way
 * @fn: may queue operations (fs_client_queue()) that have not ended when it returns; called with NULL when those of one host have
 *      ended, before another host follows
 * Return: exit status; what fails is said and the rest goes on, except where no session can be had.
 */
MUST_CHECK int fs_run_each(struct fs_run *run, int n, char **operands, void (*fn)(void *ctx, const char *path), void *ctx);

/** fs_run_print() - a name on standard output, escaped where run->show */
void fs_run_print(const struct fs_run *run, const char *name);
/** fs_run_print_json() - one object a line; @o is given away */
void fs_run_print_json(json_t *o);
/** fs_run_flush() - the end of standard output. Return: exit status */
int fs_run_flush(struct fs_run *run);

#endif
