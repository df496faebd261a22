/*
 * agent/enroll_net.c - the direct way: a connection to the operator's enrollment port, and a first try of the tunnel.
 *
 * Attempts follow each other for ENROLL_DIRECT_MAX: a connection that was refused or lost, or an operator that could not
 * store, is tried again with the same key, which is harmless (doc/enrollment.md). Every other answer is final.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/agent_internal.h"
#include "agent/config.h"
#include "agent/enroll.h"
#include "os/loop.h"
#include "os/stream.h"
#include "tunnel/tunnel.h"

#define AGAIN_AFTER (500 * NSEC_PER_MSEC)
#define JOIN_MAX (5 * NSEC_PER_SEC)
/* The operator takes two initiations within 20 ms for a flood, and the agent that runs next starts with one. */
#define JOIN_REST (30 * NSEC_PER_MSEC)

struct direct {
	const struct enroll_question *q;
	struct enroll_outcome *ret;
	struct os_loop *loop;
	struct os_timer timer;
	struct os_dial *dial;
	struct os_stream *stream;
	struct enroll_client m;
	nsec_t deadline;
	bool in_attempt, waiting;
};

static void start_attempt(struct direct *d);

static bool is_worth_another(enum enroll_code c)
{
	return c == ENROLL_LOST || c == ENROLL_UNREACHED || c == ENROLL_BUSY;
}

static void end_attempt(struct direct *d, enum enroll_code code)
{
	d->ret->code = code;
	d->ret->is_authentic = d->in_attempt && d->m.is_authentic;
	if (d->in_attempt) {
		d->ret->reply = d->m.reply;
		enroll_client_fini(&d->m);
	}
	d->in_attempt = false;
	if (d->stream)
		os_stream_close(d->stream);
	d->stream = NULL;
	if (!is_worth_another(code) || os_now() + AGAIN_AFTER >= d->deadline) {
		os_loop_stop(d->loop);
		return;
	}
	d->waiting = true;
	os_timer_set(&d->timer, os_now() + AGAIN_AFTER);
}

static void flush(struct direct *d)
{
	for (;;) {
		struct bytes out = enroll_client_output(&d->m);
		struct iovec iov = { (void *)out.p, out.len };
		size_t n = 0;
		enum err e = out.len > 0 ? os_stream_writev(d->stream, &iov, 1, &n) : ERR_CLOSED;

		/* At an error too it reads: the other side may have said why before it closed. */
		if (e != OK) {
			os_stream_want(d->stream, e == ERR_AGAIN ? OS_READ | OS_WRITE : OS_READ);
			return;
		}
		enroll_client_sent(&d->m, n);
	}
}

static void on_stream(void *ctx, struct os_stream *s, int events)
{
	struct direct *d = ctx;
	uint8_t buf[8192];
	size_t n = 0;
	enum err e;

	if (events & OS_WRITE)
		flush(d);
	if (!(events & (OS_READ | OS_HANGUP)))
		return;
	e = os_stream_read(s, buf, sizeof(buf), &n);
	if (e == ERR_AGAIN)
		return;
	if (e != OK || n == 0)
		enroll_client_end(&d->m);
	else
		enroll_client_input(&d->m, (struct bytes){ buf, n });
	if (d->m.state == ENROLL_CLIENT_DONE)
		end_attempt(d, d->m.code);
	else
		flush(d);
}

/* Our address in the LAN, as the way to the operator shows it: helps when both are behind one router. */
static void note_local(struct direct *d, int fd)
{
	struct endpoint *ep = &d->q->request->local_endpoint;
	struct sockaddr_in in;
	socklen_t len = sizeof(in);

	memset(ep, 0, sizeof(*ep));
	if (getsockname(fd, (struct sockaddr *)&in, &len) != 0 || in.sin_family != AF_INET)
		return;
	ep->ip.family = IP_V4;
	memcpy(ep->ip.b, &in.sin_addr, 4);
	ep->port = d->q->request->listen_port;
	if (ip_addr_is_loopback(&ep->ip) || ip_addr_equal(&ep->ip, &d->q->token->endpoint.ip))
		memset(ep, 0, sizeof(*ep));
}

static void on_dialed(void *ctx, enum err e, int fd)
{
	struct direct *d = ctx;

	d->dial = NULL;
	if (e != OK) {
		end_attempt(d, ENROLL_UNREACHED);
		return;
	}
	note_local(d, fd);
	if (os_stream_new(d->loop, fd, on_stream, d, &d->stream) != OK) {
		close(fd);
		end_attempt(d, ENROLL_LOST);
		return;
	}
	d->in_attempt = true;
	e = enroll_client_init(&d->m, d->q->token, d->q->self, d->q->request, os_rng());
	if (e != OK)
		end_attempt(d, e == ERR_INVALID ? ENROLL_SIGNATURE : ENROLL_LOST);
	else
		flush(d);
}

static void start_attempt(struct direct *d)
{
	struct endpoint to = { .ip = d->q->token->endpoint.ip, .port = d->q->token->enroll_port };
	char text[ENDPOINT_STR_MAX];

	d->waiting = false;
	os_timer_set(&d->timer, d->deadline);
	if (os_dial_start(d->loop, endpoint_format(&to, text), d->deadline, on_dialed, d, &d->dial) != OK)
		end_attempt(d, ENROLL_UNREACHED);
}

static void on_timer(void *ctx)
{
	struct direct *d = ctx;

	if (d->waiting) {
		start_attempt(d);
		return;
	}
	*d->ret = (struct enroll_outcome){ .code = d->in_attempt ? ENROLL_LOST : ENROLL_UNREACHED };
	os_loop_stop(d->loop);
}

static bool serves(const struct enroll_token *t)
{
	return endpoint_is_set(&t->endpoint);
}

static void ask(void *ctx, const struct enroll_question *q, struct enroll_outcome *ret)
{
	struct endpoint to = { .ip = q->token->endpoint.ip, .port = q->token->enroll_port };
	struct direct d = { .q = q, .ret = ret, .loop = os_loop_new() };
	char text[ENDPOINT_STR_MAX];

	if (!d.loop)
		return;
	printf("Connecting to operator at %s...\n", endpoint_format(&to, text));
	fflush(stdout);
	d.deadline = os_now() + q->wait_max;
	os_timer_init(&d.timer, d.loop, on_timer, &d);
	start_attempt(&d);
	os_loop_run(d.loop);
	os_timer_cancel(&d.timer);
	if (d.dial)
		os_dial_cancel(d.dial);
	if (d.stream)
		os_stream_close(d.stream);
	if (d.in_attempt)
		enroll_client_fini(&d.m);
	os_loop_free(d.loop);
}

const struct enroll_way agent_enroll_direct = {
	.name = "direct connection",
	.noun = "Direct",
	.steps = "Validating invite token... OK\nKey exchange... OK\n",
	.farewell = "Enrollment successful!",
	.serves = serves,
	.ask = ask,
};

/* ---- the tunnel, for a moment ---- */

struct join {
	struct os_loop *loop;
	struct os_timer timer;
	bool up;
};

static void on_event(void *ctx, const struct wg_event *ev)
{
	struct join *j = ctx;

	if (ev->kind != WG_EVENT_SESSION_UP)
		return;
	j->up = true;
	os_timer_set(&j->timer, os_now() + JOIN_REST);
}

static void on_join_end(void *ctx)
{
	os_loop_stop(ctx);
}

bool agent_enroll_join(const struct agent_enroll *a)
{
	static struct agent_config cfg;
	char why[512], state[4200];
	struct join j = { .loop = os_loop_new() };
	struct tunnel_config tc = { .initiate = true, .is_silent = true, .on_event = on_event, .ctx = &j };
	struct tunnel *t = NULL;

	if (!j.loop)
		return false;
	if (agent_config_load(a->config, true, &cfg, why, sizeof(why)) != OK) {
		os_loop_free(j.loop);
		return false;
	}
	agent_path_beside(a->config, "agent-state", state, sizeof(state));
	tc.private_key = cfg.private_key;
	tc.listen_port = cfg.listen_port;
	tc.state_file = state;
	tc.n_addrs = cfg.n_addrs;
	memcpy(tc.addrs, cfg.addrs, sizeof(tc.addrs));
	os_timer_init(&j.timer, j.loop, on_join_end, j.loop);
	os_timer_set(&j.timer, os_now() + JOIN_MAX);
	if (tunnel_open(j.loop, &tc, &t) == OK && tunnel_set_peers(t, cfg.peers, cfg.n_peers) == OK)
		os_loop_run(j.loop);
	os_timer_cancel(&j.timer);
	if (t)
		tunnel_close(t);
	os_loop_free(j.loop);
	explicit_bzero(&tc.private_key, sizeof(tc.private_key));
	agent_config_wipe(&cfg);
	return j.up;
}
