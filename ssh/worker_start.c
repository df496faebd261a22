/*
 * ssh/worker_start.c - what a worker and the nursery are started with: the program, an environment, a configuration.
 *
 * The first message has the identities in it: its buffer is wiped by whoever sends it.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ssh/fs_session.h"
#include "ssh/worker.h"
#include "ssh/worker_internal.h"

/* ---- the process ---- */

/* The environment holds other programs' secrets. What the loader and the sanitizers need is left. */
static void worker_env(const char *env[8])
{
	static const char *const keep[] = { "LD_LIBRARY_PATH=", "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "LSAN_OPTIONS=" };
	size_t n = 0;

	for (char **e = environ; *e; e++)
		for (size_t i = 0; i < ARRAY_SIZE(keep) && n < 7; i++)
			if (strncmp(*e, keep[i], strlen(keep[i])) == 0)
				env[n++] = *e;
	env[n] = NULL;
}

/* It may write nowhere: what it had to say would be a server's words on our terminal. Sanitizers report there. */
#ifdef SANITIZED
#define WORKER_STDERR 2
#else
#define WORKER_STDERR -1
#endif

enum err ssh_worker_spawn(struct os_loop *loop, const struct ssh_program *from, const char *arg, int fd, os_exit_fn fn, void *ctx,
			  struct os_child **ret)
{
	const char *argv[] = { from->program ? from->program : os_self_path(), arg, NULL }, *env[8];
	struct os_spawn sp = { .argv = argv, .env = env, .fds = { -1, -1, WORKER_STDERR, fd }, .n_fds = 4, .orphan = from->is_guest };

	worker_env(env);
	return ssh_worker_start_error(os_child_spawn(loop, &sp, fn, ctx, ret));
}

const char *ssh_worker_start_text(enum err e)
{
	switch (e) {
	case ERR_FULL:
		return "no more processes or descriptors are allowed (ulimit -u, ulimit -n; pids.max of its cgroup)";
	case ERR_CLOSED:
		return "the process that it was to come from ended";
	case ERR_PERMISSION:
		return "its sandbox is refused here: prctl and seccomp must be allowed";
	case ERR_UNSUPPORTED:
		return "pidfd_open is refused here (Linux 5.3 has it; a seccomp profile must allow it)";
	default:
		return err_text(e);
	}
}

/* ---- its first message ---- */

static enum err put_text(struct ssh_buf *b, const char *text)
{
	return ssh_put_string(b, text ? text : "", text ? strlen(text) : 0);
}

static enum err put_identity(struct ssh_buf *b, const struct ssh_identity *id)
{
	struct bytes parts[] = { id->private, id->public, id->certificate };
	enum err e = put_text(b, id->path);

	if (e == OK)
		e = put_text(b, id->why);
	for (size_t i = 0; i < ARRAY_SIZE(parts) && e == OK; i++)
		e = ssh_put_string(b, parts[i].p, parts[i].len);
	return e;
}

static enum err put_identities(struct ssh_buf *b, const struct ssh_worker_config *cfg)
{
	enum err e = ssh_put_u32(b, (uint32_t)cfg->n_ids);

	for (size_t i = 0; i < cfg->n_ids && e == OK; i++)
		e = put_identity(b, &cfg->ids[i]);
	return e;
}

enum err ssh_worker_put_config(struct ssh_buf *b, const struct ssh_worker_config *cfg, const char *key_types)
{
	uint8_t kind = SSH_C_CONFIG;
	enum err e = ssh_buf_add(b, &kind, 1);

	if (e == OK)
		e = ssh_put_u32(b, SSH_CONTROL_VERSION);
	if (e == OK)
		e = put_text(b, cfg->host);
	if (e == OK)
		e = put_text(b, cfg->user);
	if (e == OK)
		e = put_text(b, key_types);
	if (e == OK)
		e = ssh_put_u64(b, cfg->file_size_max);
	if (e == OK)
		e = ssh_put_u64(b, cfg->list_max);
	if (e == OK)
		e = put_text(b, cfg->root);
	if (e == OK)
		e = ssh_put_u32(b, cfg->idle_s);
	if (e == OK)
		e = ssh_put_u32(b, cfg->has_agent);
	return e == OK ? put_identities(b, cfg) : e;
}
