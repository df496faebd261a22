/*
 * operator/fs_copy.c - see fs_copy.h.
 *
 * The loop starts what may start, lets puts send what their credit allows, waits, and looks whether a signal came. Ctrl-C and
 * its like end the copy between two events: partial files are taken away (or kept, to be resumed), then the signal ends the
 * process as it would have.
 */
#include "operator/fs_copy.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "operator/fs_format.h"
#include "operator/hub_client.h"
#include "os/loop.h"

#define WEIGHT_MAX (16u << 20) /* more than that under way, and no other file is begun */
#define RETRIES_MAX 8          /* without a byte of progress */
#define TICK_MS 200
#define OUT_FULL (1u << 20)

static volatile sig_atomic_t signalled;

static void on_signal(int signum)
{
	signalled = signum;
}

/* From the first copy on: before it there is nothing to tidy up, and waits that no signal ends. */
static void catch_signals(void)
{
	static bool caught;
	static const int signums[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND }, old;

	for (size_t i = 0; i < ARRAY_SIZE(signums) && !caught; i++)
		if (sigaction(signums[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			sigaction(signums[i], &sa, NULL);
	caught = true;
}

int fs_copy_init(struct fs_copy *c, struct cli *cli)
{
	cli->json |= c->flags.json;
	c->run.cli = cli;
	c->run.literal = c->flags.no_glob;
	list_init(&c->waiting);
	list_init(&c->active);
	fs_progress_init(&c->progress, isatty(STDERR_FILENO) && !c->flags.quiet && !c->flags.json, os_now());
	signal(SIGPIPE, SIG_IGN);
	return 0;
}

/* ---- jobs ---- */

void fs_job_init(struct fs_job *j, struct fs_copy *c, const struct fs_job_type *type, uint64_t weight)
{
	j->c = c;
	j->type = type;
	j->id = -1;
	j->weight = weight;
	list_init(&j->link);
}

void fs_job_add(struct fs_job *j)
{
	list_add_tail(&j->c->waiting, &j->link);
}

/* The operations of a server that ended are told before the session is: from the first on it counts as over. */
static bool is_lost(struct fs_copy *c, const struct fs_event *ev)
{
	struct session *s = &c->run.client.s;

	if (ev->error != ERR_RESET && ev->error != ERR_CLOSED && ev->error != ERR_TIMEOUT)
		return ev->error != OK && s->over;
	if (!s->over) {
		s->over = true;
		s->error = ev->error;
		snprintf(s->message, sizeof(s->message), "%s", ev->message);
	}
	return true;
}

static void on_event(void *ctx, const struct fs_event *ev)
{
	struct fs_job *j = ctx;
	struct fs_copy *c = j->c;

	if (ev->type != SSH_F_OP_DONE) {
		j->type->event(j, ev);
		return;
	}
	j->id = -1;
	if (c->flags.resume && !c->fatal && is_lost(c, ev))
		fs_job_again(j);
	else
		j->type->event(j, ev);
}

bool fs_job_ask(struct fs_job *j, const struct fs_request *rq)
{
	j->id = fs_client_start(&j->c->run.client, rq, on_event, j);
	return j->id >= 0;
}

static void leave_active(struct fs_job *j)
{
	if (j->id >= 0)
		fs_client_drop(&j->c->run.client, j->id);
	j->id = -1;
	list_del(&j->link);
	j->c->n_active--;
	j->c->weight_active -= j->weight;
}

void fs_job_end(struct fs_job *j)
{
	leave_active(j);
	j->type->free(j);
}

void fs_job_again(struct fs_job *j)
{
	leave_active(j);
	if (j->type->stop)
		j->type->stop(j, true);
	list_add(&j->c->waiting, &j->link);
}

void fs_job_fail(struct fs_job *j, enum err e, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fs_progress_clear(&j->c->progress);
	fs_run_error(&j->c->run, e, "%s", text);
	if (j->type->stop)
		j->type->stop(j, j->c->flags.resume);
	fs_job_end(j);
}

void fs_job_fail_local(struct fs_job *j, const char *path, int errnum)
{
	fs_progress_clear(&j->c->progress);
	fs_run_local_error(&j->c->run, path, errnum);
	j->c->fatal |= errnum == ENOSPC || errnum == EDQUOT;
	if (j->type->stop)
		j->type->stop(j, j->c->flags.resume);
	fs_job_end(j);
}

/* ---- the loop ---- */

static bool may_start(const struct fs_copy *c, const struct fs_job *j)
{
	if (c->n_active >= (unsigned)c->flags.parallel || c->run.client.n_running >= SSH_FS_OPS_MAX - 1)
		return false;
	return c->weight_active == 0 || c->weight_active + j->weight <= WEIGHT_MAX;
}

static void start_jobs(struct fs_copy *c)
{
	while (!list_empty(&c->waiting) && !c->fatal && !fs_client_is_over(&c->run.client)) {
		struct fs_job *j = container_of(list_first(&c->waiting), struct fs_job, link);

		if (!may_start(c, j))
			return;
		list_del(&j->link);
		list_add_tail(&c->active, &j->link);
		c->n_active++;
		c->weight_active += j->weight;
		j->type->start(j);
	}
}

/* Return: something was sent. */
static bool feed_jobs(struct fs_copy *c)
{
	bool fed = false;

	list_for_each_safe(it, &c->active) {
		struct fs_job *j = container_of(it, struct fs_job, link);

		if (ssh_buf_used(&c->run.client.s.out) >= OUT_FULL)
			break;
		if (j->type->feed)
			fed |= j->type->feed(j);
	}
	return fed;
}

static void pause_seconds(unsigned s)
{
	for (unsigned i = 0; i < s * 10 && !signalled; i++)
		usleep(100000);
}

/* Return: the session stands again, or another attempt may be made. */
static bool reconnect(struct fs_copy *c)
{
	if (!c->flags.resume || c->fatal)
		return false;
	if (c->progress.done > c->done_at_loss)
		c->retries = 0;
	c->done_at_loss = c->progress.done;
	if (c->retries >= RETRIES_MAX)
		return false;
	if (c->retries == 0 && !c->flags.quiet) {
		fs_progress_clear(&c->progress);
		fprintf(stderr, "nefia: %s: %s; going on when it is back\n", c->run.client.host, c->run.client.s.message);
	}
	pause_seconds(MIN(c->retries, 3u));
	c->retries++;
	if (!signalled && fs_client_reopen(&c->run.client) != OK) {
		snprintf(c->run.client.s.message, sizeof(c->run.client.s.message), "%s", hub_client_message(c->run.client.hub));
		c->run.client.s.over = true;
	}
	return true;
}

/* What still waits has no session to run on. */
static void give_up(struct fs_copy *c)
{
	if (!c->fatal && !list_empty(&c->waiting))
		fs_run_error(&c->run, c->run.client.s.error ? c->run.client.s.error : ERR_CLOSED, "%s", c->run.client.s.message);
	c->run.failed = true;
	c->fatal = true;
}

int fs_copy_run(struct fs_copy *c)
{
	catch_signals();
	while (!signalled) {
		bool fed;

		if (fs_client_is_over(&c->run.client) && c->n_active == 0 && !list_empty(&c->waiting) && !reconnect(c))
			give_up(c);
		start_jobs(c);
		if (c->n_active == 0 && (list_empty(&c->waiting) || c->fatal))
			break;
		fed = feed_jobs(c);
		fs_client_turn(&c->run.client, fed ? 0 : TICK_MS);
		fs_progress_show(&c->progress, os_now(), false);
	}
	return fs_run_status(&c->run);
}

static void drop_jobs(struct fs_copy *c)
{
	list_for_each_safe(it, &c->active) {
		struct fs_job *j = container_of(it, struct fs_job, link);

		if (j->type->stop)
			j->type->stop(j, c->flags.resume);
		fs_job_end(j);
	}
	list_for_each_safe(it2, &c->waiting) {
		struct fs_job *j = container_of(it2, struct fs_job, link);

		list_del(&j->link);
		j->type->free(j);
	}
}

int fs_copy_finish(struct fs_copy *c, int r)
{
	drop_jobs(c);
	if (c->progress.files > 0)
		fs_progress_show(&c->progress, os_now(), true);
	fs_run_close(&c->run);
	if (signalled) {
		signal(signalled, SIG_DFL);
		raise(signalled);
	}
	if (r == 0)
		r = fs_run_flush(&c->run);
	return r;
}

/* ---- small things ---- */

void fs_copy_report(struct fs_copy *c, const char *remote, const char *local, uint64_t bytes, enum err e, const char *why)
{
	json_t *o;

	if (!c->flags.json)
		return;
	o = json_pack("{s:s}", "host", c->run.client.host);
	fs_name_set_json(o, "remote", remote);
	fs_name_set_json(o, "local", local);
	json_object_set_new(o, "bytes", fs_format_json(bytes));
	if (e != OK)
		fs_name_set_json(o, "error", why);
	fs_run_print_json(o);
}

/* FNV-1a over 64 bits: it need not withstand anybody, the bytes are compared. */
uint64_t fs_copy_source(const char *place, uint64_t size, uint64_t time, uint64_t more)
{
	const uint64_t words[] = { size, time, more };
	uint64_t h = 0xcbf29ce484222325u;

	for (const char *p = place; *p; p++)
		h = (h ^ (uint8_t)*p) * 0x100000001b3u;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		for (unsigned b = 0; b < 64; b += 8)
			h = (h ^ (words[i] >> b & 0xff)) * 0x100000001b3u;
	return h ? h : 1;
}
