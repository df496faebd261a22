/*
 * operator/fs_get_file.c - `nefia fs get`: a file, and a link.
 *
 * A file goes into its partial file, which is renamed when it is whole. What an earlier attempt left there (--resume) is compared as
 * it comes, from SSH_PUT_TAIL bytes before its end; what differs is begun anew. Bytes come in order, and are as many as the
 * server said when it opened the file.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "operator/fs_get_internal.h"

/* ---- a file ---- */

/* Bytes that are there: in this attempt, or from one before. */
static void count(struct get_job *g, uint64_t upto, bool skipped)
{
	struct fs_progress *p = &g->job.c->progress;

	p->done += upto - g->counted;
	p->skipped += skipped ? upto - g->counted : 0;
	g->counted = upto;
}

static void uncount(struct get_job *g)
{
	struct fs_progress *p = &g->job.c->progress;

	p->done -= MIN(g->counted, p->done);
	p->skipped = MIN(p->skipped, p->done);
	p->rate_done = MIN(p->rate_done, p->done - p->skipped);
	g->counted = 0;
}

static void file_stop(struct fs_job *j, bool keep)
{
	struct get_job *g = job_of(j);

	fs_out_abort(&g->out, keep);
	uncount(g);
	g->began = false;
}

static void file_start(struct fs_job *j)
{
	struct get_job *g = job_of(j);
	struct getting *x = getting_of(g);
	struct fs_request rq = { .op = SSH_OP_GET, .path = g->remote, .length = UINT64_MAX };
	uint64_t source = fs_copy_source(g->remote, fs_get_size(&g->attr), g->attr.mtime, g->attr.which);
	int e = g->out.fd >= 0 ? 0 : fs_out_begin(&g->out, &x->tree, g->local, source, j->c->flags.resume);

	if (e == 0 && (g->differs || g->out.size > fs_get_size(&g->attr)))
		e = fs_out_restart(&g->out);
	if (e) {
		fs_get_fail_local(g, e);
		return;
	}
	g->verify_to = g->out.size;
	rq.offset = g->out.size - MIN(g->out.size, (uint64_t)SSH_PUT_TAIL);
	fs_progress_file(&j->c->progress, g->local);
	if (!fs_job_ask(j, &rq))
		fs_job_again(j);
}

/* What is there is not what the server has: from the beginning, once this GET has ended. */
static void begin_anew(struct get_job *g)
{
	g->differs = true;
	fs_client_cancel(&g->job.c->run.client, g->job.id);
}

static void file_info(struct get_job *g, const struct ssh_attr *a)
{
	struct fs_progress *p = &g->job.c->progress;
	bool same = fs_get_size(a) == fs_get_size(&g->attr) && a->mtime == g->attr.mtime;

	if (g->out.size > 0 && !same && !g->differs)
		begin_anew(g);
	p->total += fs_get_size(a) - fs_get_size(&g->attr);
	g->job.c->weight_active += fs_get_size(a) - g->job.weight;
	g->job.weight = fs_get_size(a);
	g->attr = *a;
	g->began = true;
}

static void file_bytes(struct get_job *g, uint64_t offset, struct bytes data)
{
	uint64_t overlap = offset < g->verify_to ? MIN(g->verify_to - offset, (uint64_t)data.len) : 0;
	int e;

	if (g->differs && g->verify_to > 0)
		return; /* of what was given up */
	if (overlap && !fs_out_equals(&g->out, offset, (struct bytes){ data.p, (size_t)overlap })) {
		begin_anew(g);
		return;
	}
	count(g, MAX(offset + overlap, g->counted), true);
	if (data.len == overlap)
		return;
	if (offset + overlap != g->out.size) {
		fs_job_fail(&g->job, ERR_PROTOCOL, "reading %s: the bytes came in another order", g->remote);
		return;
	}
	e = fs_out_write(&g->out, g->out.size, (struct bytes){ data.p + overlap, data.len - (size_t)overlap });
	if (e)
		fs_get_fail_local(g, e);
	else
		count(g, g->out.size, false);
}

static void file_done(struct get_job *g)
{
	struct getting *x = getting_of(g);
	uint64_t size = g->out.size;
	char buf[2 * PATH_MAX];
	int e;

	if (fs_get_size(&g->attr) > 0 && size != fs_get_size(&g->attr)) {
		fs_job_fail(&g->job, ERR_IO, "reading %s: it is not as long as the server said", g->remote);
		return;
	}
	fs_get_set_attr(x, &g->attr, false);
	/* A tree of many files is not worth a sync each; one that was named is. */
	e = fs_out_finish(&g->out, size, &g->attr, !x->c.flags.recursive);
	if (e) {
		fs_get_fail_local(g, e);
		return;
	}
	x->c.progress.files_done++;
	fs_copy_report(&x->c, g->remote, fs_get_shown(g, buf), size, OK, NULL);
	fs_job_end(&g->job);
}

static void file_event(struct fs_job *j, const struct fs_event *ev)
{
	struct get_job *g = job_of(j);

	if (ev->type == SSH_F_OP_INFO) {
		file_info(g, &ev->attr);
	} else if (ev->type == SSH_F_OP_BYTES) {
		file_bytes(g, ev->offset, ev->data);
	} else if (ev->type == SSH_F_OP_DONE && g->differs && g->verify_to > 0) {
		g->verify_to = 0;
		uncount(g);
		fs_out_restart(&g->out);
		file_start(j);
	} else if (ev->type == SSH_F_OP_DONE && ev->error != OK) {
		fs_get_fail_remote(g, ev);
	} else if (ev->type == SSH_F_OP_DONE) {
		file_done(g);
	}
}

const struct fs_job_type fs_get_file = {
	.start = file_start, .event = file_event, .stop = file_stop, .free = fs_get_free
};

/* ---- a link ---- */

static void link_start(struct fs_job *j)
{
	fs_get_ask(j, SSH_OP_READLINK);
}

static void link_event(struct fs_job *j, const struct fs_event *ev)
{
	struct get_job *g = job_of(j);
	char buf[2 * PATH_MAX];
	int e;

	if (ev->type == SSH_F_OP_ENTRY && !g->target)
		g->target = strndup((const char *)ev->data.p, ev->data.len);
	if (ev->type != SSH_F_OP_DONE)
		return;
	if (ev->error != OK) {
		fs_get_fail_remote(g, ev);
		return;
	}
	e = g->target && *g->target ? fs_tree_link(&getting_of(g)->tree, g->local, g->target) : EINVAL;
	if (e) {
		fs_get_fail_local(g, e);
		return;
	}
	j->c->progress.files_done++;
	fs_copy_report(j->c, g->remote, fs_get_shown(g, buf), 0, OK, NULL);
	fs_job_end(j);
}

const struct fs_job_type fs_get_link = { .start = link_start, .event = link_event, .free = fs_get_free };
