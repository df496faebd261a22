/*
 * operator/forward_run.c - the listeners of `nefia forward`, and the hub behind them.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "operator/forward.h"
#include "operator/hub_attach.h"

#define SESSION_MAX (5 * NSEC_PER_SEC)

enum err forward_session(struct forward_run *r, int *ret_fd)
{
	enum err e = r->hc ? hub_client_session(r->hc, r->host, SESSION_MAX, ret_fd) : ERR_CLOSED;

	if (e == OK || (r->hc && hub_client_is_connected(r->hc)))
		goto out;
	/* The hub ended: another one may run, or is started. */
	hub_client_close(r->hc);
	r->hc = NULL;
	e = hub_attach(r->cli->home, r->cli->config, !r->is_kept, &r->hc);
	if (e == OK)
		e = hub_client_session(r->hc, r->host, SESSION_MAX, ret_fd);
out:
	if (e != OK)
		fprintf(stderr, "nefia: %s: %s\n", r->host, r->hc ? hub_client_message(r->hc) : err_text(e));
	return e;
}

static void on_accept(void *ctx, int fd)
{
	forward_conn_accept(ctx, fd);
}

static enum err listen_on(struct forward *f)
{
	struct forward_end *at = &f->spec.listen;
	struct endpoint ep = { .port = at->port };
	enum err e;

	if (forward_end_is_path(at))
		return os_listen_unix(f->run->loop, at->host, on_accept, f, &f->listener);
	e = ip_addr_parse(at->host, &ep.ip);
	if (e == OK)
		e = os_listen_tcp(f->run->loop, &ep, on_accept, f, &f->listener);
	if (e == OK)
		at->port = os_listener_port(f->listener);
	return e;
}

static int listen_all(struct forward_run *r)
{
	char at[FORWARD_END_STR_MAX], to[FORWARD_END_STR_MAX];

	for (size_t i = 0; i < r->n_forwards; i++) {
		struct forward *f = &r->forwards[i];
		enum err e;

		if (f->kind == FORWARD_REMOTE) {
			forward_remote_start(f);
			continue;
		}
		e = listen_on(f);
		forward_end_format(&f->spec.listen, at);
		if (e != OK)
			return cli_error(r->cli, 1016, "%s: %s", at, err_text(e));
		if (f->kind == FORWARD_DYNAMIC)
			printf("Forwarding %s to %s, wherever SOCKS asks for\n", at, r->host);
		else
			printf("Forwarding %s to %s, there to %s\n", at, r->host, forward_end_format(&f->spec.target, to));
	}
	return fflush(stdout) == 0 ? 0 : EXIT_FAILED;
}

static void on_sweep(void *ctx)
{
	struct forward_run *r = ctx;

	r->sweep_at = forward_conns_sweep(r, os_loop_now(r->loop));
	os_timer_set(&r->sweep, r->sweep_at);
}

static void on_signal(void *ctx, int signum)
{
	struct forward_run *r = ctx;

	os_loop_stop(r->loop);
}

/* A connection is two descriptors; the usual limit is for programs that use select(). */
static void raise_limit(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) != 0)
		return;
	l.rlim_cur = l.rlim_max < 2 * FORWARD_CONNS_MAX + 256 ? l.rlim_max : 2 * FORWARD_CONNS_MAX + 256;
	setrlimit(RLIMIT_NOFILE, &l);
}

int forward_run(struct forward_run *r)
{
	int code = EXIT_FAILED;

	list_init(&r->conns);
	raise_limit();
	signal(SIGPIPE, SIG_IGN);
	r->loop = os_loop_new();
	if (!r->loop || os_signal_on(r->loop, SIGINT, on_signal, r) != OK ||
	    os_signal_on(r->loop, SIGTERM, on_signal, r) != OK || os_signal_on(r->loop, SIGHUP, on_signal, r) != OK) {
		cli_error(r->cli, 1099, "%s", err_text(ERR_NOMEM));
		goto out;
	}
	os_timer_init(&r->sweep, r->loop, on_sweep, r);
	r->sweep_at = NSEC_NEVER;
	code = listen_all(r);
	if (code == 0) {
		os_loop_run(r->loop);
		code = r->code;
	}
	for (size_t i = 0; i < r->n_forwards; i++) {
		if (r->forwards[i].listener)
			os_listener_close(r->forwards[i].listener);
		if (r->forwards[i].kind == FORWARD_REMOTE && r->forwards[i].again.loop)
			forward_remote_stop(&r->forwards[i]);
	}
	forward_conns_close(r);
	os_timer_cancel(&r->sweep);
out:
	if (r->loop)
		os_loop_free(r->loop);
	return code;
}
