/*
 * operator/hub_keep.c - forwards in the background: `nefia forward --background`.
 *
 * Each is a process of this program, started by the hub as a person would start it, and started again should it end by itself
 * (after 1 s, then twice as long up to 30 s). So a client's bytes are never parsed in the process that holds the tunnel's
 * keys, and a thousand busy connections share no loop with it. It asks this hub for sessions like any command; tunnel,
 * agent and SSH connections may come and go under it while its ports stay open. Its process ends with the hub, the forward does
 * not: what was once ready stands in a file (hub_kept.h) until it is stopped, and the next hub takes it up again, on the same ports.
 *
 *	STARTING  until it has said "Forwarding ..." for each of its ports; who asked for it waits
 *	RUNNING
 *	PAUSING   it ended; started again at the timer
 *	STOPPING  it was told to end; killed at the timer
 *
 * What it writes goes to the hub's log, line by line, without control characters.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "operator/hub_internal.h"
#include "operator/hub_kept.h"
#include "os/proc.h"

#define SAID_MAX 8192
#define START_MAX (30 * NSEC_PER_SEC)
#define PAUSE_FIRST (1 * NSEC_PER_SEC)
#define PAUSE_MAX (30 * NSEC_PER_SEC)
#define STOP_MAX (3 * NSEC_PER_SEC)

enum keep_state { STARTING, RUNNING, PAUSING, STOPPING };

struct hub_keep {
	struct list link;
	struct hub *hub;
	enum keep_state state;
	unsigned id, n_restarts;
	char host[KEPT_HOST_MAX];
	char *args[KEPT_ARGS_MAX + 1];
	size_t n_args, n_ports, n_ready;
	bool is_saved; /* it was ready once */
	bool has_ended; /* its process; the timer comes */
	struct os_child *child;
	int fd; /* what it writes */
	struct os_watch *watch;
	struct os_timer timer;
	nsec_t since, pause;
	char line[1024]; /* that it writes now */
	size_t len;
	char why[600]; /* it is not ready: the last that it said; empty = ready, or nothing yet */
	unsigned ecode;
	char said[SAID_MAX]; /* its "Forwarding ..." lines, each with its end */
	struct hub_conn *asker; /* waits for it to be ready */
};

static void close_child(struct hub_keep *k)
{
	os_watch_free(k->watch);
	os_child_free(k->child);
	if (k->fd >= 0)
		close(k->fd);
	k->watch = NULL;
	k->child = NULL;
	k->has_ended = false;
	k->fd = -1;
}

static void keep_free(struct hub_keep *k)
{
	close_child(k);
	os_timer_cancel(&k->timer);
	k->hub->n_keeps--;
	for (size_t i = 0; i < k->n_args; i++)
		free(k->args[i]);
	list_del(&k->link);
	hub_user_gone(k->hub);
	free(k);
}

/* ---- the file ---- */

static json_t *args_json(const struct hub_keep *k)
{
	json_t *args = json_array();

	for (size_t i = 0; i < k->n_args; i++)
		json_array_append_new(args, json_string(k->args[i]));
	return args;
}

/* Return: NULL, or why the file is as it was; for who asked. */
static const char *save(struct hub *h)
{
	json_t *all = json_array();
	enum err e;

	list_for_each(it, &h->keeps) {
		const struct hub_keep *k = container_of(it, struct hub_keep, link);

		if (k->is_saved && k->state != STOPPING)
			json_array_append_new(all, json_pack("{s:i, s:s, s:i, s:o}", "id", (int)k->id, "host", k->host, "ports",
							     (int)k->n_ports, "args", args_json(k)));
	}
	e = hub_kept_write(h->paths.kept, all);
	json_decref(all);
	if (e == OK)
		return NULL;
	log_error("forwards not saved path=%s error=%s", h->paths.kept, err_name(e));
	return err_text(e);
}

/* ---- what it says ---- */

static json_t *said_json(const struct hub_keep *k)
{
	json_t *a = json_array();

	for (const char *p = k->said, *end; (end = strchr(p, '\n')); p = end + 1)
		json_array_append_new(a, json_stringn(p, (size_t)(end - p)));
	return a;
}

static void answer(struct hub_keep *k, const char *unsaved)
{
	struct hub_conn *c = k->asker;

	k->asker = NULL;
	hub_conn_set_job(c, NULL, NULL);
	hub_conn_reply(c, json_pack("{s:i, s:o, s:s?}", "id", (int)k->id, "says", said_json(k), "unsaved", unsaved), -1);
}

/* It could not start: its own error is the answer, and it is not kept. */
static void give_up(struct hub_keep *k)
{
	struct hub_conn *c = k->asker;
	unsigned ecode = k->ecode ? k->ecode : 1016;
	char why[sizeof(k->why)];

	memcpy(why, k->why, sizeof(why));
	k->asker = NULL;
	hub_conn_set_job(c, NULL, NULL);
	keep_free(k);
	hub_conn_fail(c, ERR_REFUSED, ecode, "%s", why[0] ? why : "the forward ended while starting");
}

/* Its last word before it ends is an error of `nefia forward --json`. */
static void take_error(struct hub_keep *k)
{
	json_t *o = json_loads(k->line, 0, NULL), *error = json_object_get(o, "error");
	const char *code = hub_json_string(error, "code"), *message = hub_json_string(error, "message");

	k->ecode = code && code[0] == 'E' ? (unsigned)atoi(code + 1) : 0;
	snprintf(k->why, sizeof(k->why), "%s", message ? message : k->line);
	text_clean(k->why); /* it was cut, and in JSON it could have what the line could not */
	json_decref(o);
}

/* A port of 0 is any port once: who was told which one finds it there ever after. */
static void pin_port(struct hub_keep *k)
{
	bool is_remote = strcmp(k->args[0], "--remote") == 0, is_dynamic = strcmp(k->args[0], "--dynamic") == 0;
	char **arg = &k->args[k->n_args - k->n_ports + k->n_ready], *pinned;

	/* Those at the host get ready in any order. */
	if (is_remote && k->n_ports > 1)
		return;
	pinned = hub_kept_pin(*arg, !is_dynamic, k->line);
	if (!pinned)
		return;
	free(*arg);
	*arg = pinned;
}

static void take_ready(struct hub_keep *k)
{
	const char *unsaved = NULL;

	k->state = RUNNING;
	k->since = os_now();
	k->why[0] = '\0';
	if (!k->has_ended)
		os_timer_cancel(&k->timer);
	log_info("forward started id=%u host=%s", k->id, k->host);
	if (!k->is_saved) {
		k->is_saved = true;
		unsaved = save(k->hub);
	}
	if (k->asker)
		answer(k, unsaved);
}

static void take_line(struct hub_keep *k)
{
	size_t used = strlen(k->said);

	text_clean(k->line);
	if (strncmp(k->line, "Forwarding ", 11) != 0) {
		log_info("forward id=%u host=%s says: %s", k->id, k->host, k->line);
		if (k->state == STARTING)
			take_error(k);
		return;
	}
	if (k->state != STARTING)
		return;
	snprintf(k->said + used, sizeof(k->said) - used, "%s\n", k->line);
	if (!k->is_saved)
		pin_port(k);
	if (++k->n_ready == k->n_ports)
		take_ready(k);
}

static void read_lines(struct hub_keep *k)
{
	char *end;
	ssize_t n;

	while ((n = recv(k->fd, k->line + k->len, sizeof(k->line) - 1 - k->len, MSG_DONTWAIT)) > 0) {
		k->len += (size_t)n;
		k->line[k->len] = '\0';
		while ((end = strchr(k->line, '\n')) || k->len == sizeof(k->line) - 1) {
			size_t used = end ? (size_t)(end - k->line) + 1 : k->len;
			char rest[sizeof(k->line)];

			if (end)
				*end = '\0';
			memcpy(rest, k->line + used, k->len - used + 1);
			take_line(k);
			k->len -= used;
			memcpy(k->line, rest, k->len + 1);
		}
	}
	if (n == 0)
		os_watch_set(k->watch, 0); /* on_exit_child() comes */
}

static void on_readable(void *ctx, int events)
{
	read_lines(ctx);
}

/* ---- its process ---- */

static void on_exit_child(void *ctx, int exit_code, int term_signal)
{
	struct hub_keep *k = ctx;

	k->has_ended = true;
	/* Not here: the caller still holds what is freed. */
	os_timer_set(&k->timer, 0);
}

static enum err start(struct hub_keep *k)
{
	const char *argv[KEPT_ARGS_MAX + 7] = { os_self_path(), "--config", k->hub->opt.config, "forward", "--json", "--kept" };
	struct os_spawn sp = { .argv = argv, .fds = { -1, -1, -1 }, .n_fds = 3, .new_session = true, .ends_with_us = true };
	int pair[2];
	enum err e = os_socketpair(pair);

	for (size_t i = 0; i < k->n_args; i++)
		argv[6 + i] = k->args[i];
	argv[6 + k->n_args] = NULL;
	if (e != OK)
		return e;
	sp.fds[1] = sp.fds[2] = pair[1];
	k->fd = pair[0];
	k->len = k->n_ready = 0;
	k->said[0] = '\0';
	k->state = STARTING;
	if (setenv("NEFIA_HOME", k->hub->opt.home, 1) != 0)
		e = ERR_NOMEM;
	if (e == OK)
		e = os_child_spawn(k->hub->loop, &sp, on_exit_child, k, &k->child);
	close(pair[1]);
	if (e == OK)
		e = os_watch_new(k->hub->loop, k->fd, on_readable, k, &k->watch);
	if (e == OK)
		os_watch_set(k->watch, OS_READ);
	/* Who asked is told in time; without anybody it may take as long as its host is away. */
	if (k->asker)
		os_timer_set(&k->timer, os_now() + START_MAX);
	return e;
}

/* Its end was noticed, it does not get ready, or it is time to start it again. */
static void on_timer(void *ctx)
{
	struct hub_keep *k = ctx;
	bool ended = k->has_ended;

	if (k->watch)
		read_lines(k);
	if (k->asker) {
		give_up(k);
		return;
	}
	if (k->state == STOPPING) {
		keep_free(k);
		return;
	}
	/* It got ready in the last moment. */
	if (k->state == RUNNING && !ended)
		return;
	close_child(k);
	if (ended) {
		if (k->since && os_now() > k->since + PAUSE_MAX)
			k->pause = 0;
		k->pause = k->pause ? nsec_min(2 * k->pause, PAUSE_MAX) : PAUSE_FIRST;
		k->state = PAUSING;
		log_warn("forward ended, is started again id=%u host=%s after_s=%u", k->id, k->host, (unsigned)(k->pause / NSEC_PER_SEC));
		os_timer_set(&k->timer, os_now() + k->pause);
		return;
	}
	k->n_restarts++;
	if (start(k) != OK)
		os_timer_set(&k->timer, os_now() + PAUSE_MAX);
}

/* ---- what clients ask ---- */

/* Who asked left before it was ready: it is not kept. */
static void cancel_asker(void *job)
{
	keep_free(job);
}

static enum err take_args(struct hub_keep *k, const json_t *args)
{
	const json_t *a;
	size_t i;

	json_array_foreach(args, i, a) {
		const char *text = json_string_value(a);

		if (!text || k->n_args == KEPT_ARGS_MAX)
			return ERR_INVALID;
		k->args[k->n_args] = strdup(text);
		if (!k->args[k->n_args++])
			return ERR_NOMEM;
	}
	return k->n_ports >= 1 && k->n_ports <= k->n_args ? OK : ERR_INVALID;
}

/* @o: host, ports and args, of a request or of the file */
static enum err keep_new(struct hub *h, unsigned id, const json_t *o, struct hub_keep **ret)
{
	struct hub_keep *k = calloc(1, sizeof(*k));
	enum err e;

	if (!k)
		return ERR_NOMEM;
	k->hub = h;
	k->id = id;
	k->fd = -1;
	k->n_ports = (size_t)hub_json_int(o, "ports", 1);
	snprintf(k->host, sizeof(k->host), "%s", hub_json_string(o, "host"));
	os_timer_init(&k->timer, h->loop, on_timer, k);
	list_add_tail(&h->keeps, &k->link);
	h->n_keeps++;
	e = take_args(k, json_object_get(o, "args"));
	if (e != OK)
		keep_free(k);
	else
		*ret = k;
	return e;
}

void hub_op_keep(struct hub_conn *c, const json_t *req)
{
	struct hub *h = hub_conn_hub(c);
	const char *host = hub_json_string(req, "host");
	struct hub_keep *k;
	enum err e;

	if (!host || !hub_find(h, host)) {
		hub_conn_fail(c, ERR_NOT_FOUND, 1021, "unknown host: %s", host ? host : "(none given)");
		return;
	}
	if (h->opt.is_guest) {
		hub_conn_fail(c, ERR_UNSUPPORTED, 1016, "the hub is part of another program; start 'nefia hub' for forwards in the background");
		return;
	}
	if (h->n_keeps >= KEEPS_MAX) {
		hub_conn_fail(c, ERR_FULL, 1016, "the hub keeps %d forwards already; one takes several ports", KEEPS_MAX);
		return;
	}
	e = keep_new(h, h->last_keep + 1, req, &k);
	if (e == OK) {
		h->last_keep++;
		k->asker = c;
		e = start(k);
		if (e != OK)
			keep_free(k);
	}
	if (e != OK) {
		hub_conn_fail(c, e, 1016, "the forward could not be started: %s", err_text(e));
		return;
	}
	hub_conn_set_job(c, k, cancel_asker);
}

/* What cannot be read is kept for a person to look at. */
static void put_aside(const char *path, enum err why)
{
	char aside[PATH_MAX + 16];

	snprintf(aside, sizeof(aside), "%s.unread", path);
	log_error("forwards not taken up again path=%s error=%s", path, err_name(why));
	if ((why == ERR_FORMAT || why == ERR_VERSION) && rename(path, aside) == 0)
		log_error("their file is now %s", aside);
}

void hub_keeps_resume(struct hub *h)
{
	struct hub_keep *k;
	const json_t *o;
	json_t *all;
	size_t i;
	enum err e = hub_kept_read(h->paths.kept, &all);

	if (e != OK) {
		put_aside(h->paths.kept, e);
		return;
	}
	json_array_foreach(all, i, o) {
		unsigned id = (unsigned)hub_json_int(o, "id", 0);

		h->last_keep = MAX(h->last_keep, id);
		if (keep_new(h, id, o, &k) != OK)
			continue;
		k->is_saved = true;
		log_info("forward taken up again id=%u host=%s", k->id, k->host);
		if (start(k) != OK)
			os_timer_set(&k->timer, os_now() + PAUSE_FIRST);
	}
	json_decref(all);
}

static json_t *keep_json(const struct hub_keep *k)
{
	static const char *const states[] = { "starting", "running", "restarting", "stopping" };

	return json_pack("{s:i, s:s, s:s, s:o, s:o, s:s, s:I, s:i}", "id", (int)k->id, "host", k->host, "state", states[k->state],
			 "args", args_json(k), "says", said_json(k), "why", k->why, "age_ms",
			 (json_int_t)(k->since ? (os_now() - k->since) / NSEC_PER_MSEC : 0), "restarts", (int)k->n_restarts);
}

void hub_op_keeps(struct hub_conn *c, const json_t *req)
{
	json_t *all = json_array();

	list_for_each(it, &hub_conn_hub(c)->keeps)
		json_array_append_new(all, keep_json(container_of(it, struct hub_keep, link)));
	hub_conn_reply(c, json_pack("{s:o}", "forwards", all), -1);
}

/* In order: its Unix sockets are removed by itself. */
static void stop(struct hub_keep *k)
{
	k->state = STOPPING;
	if (k->child)
		os_child_kill(k->child, SIGTERM);
	os_timer_set(&k->timer, os_now() + (k->child ? STOP_MAX : 0));
}

/* "which": an id, a host, or "all" */
void hub_op_unkeep(struct hub_conn *c, const json_t *req)
{
	const char *which = hub_json_string(req, "which"), *unsaved = NULL;
	json_t *stopped = json_array();

	list_for_each(it, &hub_conn_hub(c)->keeps) {
		struct hub_keep *k = container_of(it, struct hub_keep, link);

		if (!which || k->asker || k->state == STOPPING || !hub_kept_matches(which, k->id, k->host))
			continue;
		log_info("forward stopped id=%u host=%s", k->id, k->host);
		json_array_append_new(stopped, keep_json(k));
		stop(k);
	}
	if (json_array_size(stopped) > 0)
		unsaved = save(hub_conn_hub(c));
	hub_conn_reply(c, json_pack("{s:o, s:s?}", "stopped", stopped, "unsaved", unsaved), -1);
}

void hub_keeps_close(struct hub *h)
{
	list_for_each_safe(it, &h->keeps) {
		struct hub_keep *k = container_of(it, struct hub_keep, link);

		if (k->child)
			os_child_kill(k->child, SIGTERM);
		os_child_forget(k->child);
		k->child = NULL;
		keep_free(k);
	}
}
