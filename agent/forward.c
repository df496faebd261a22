/*
 * agent/forward.c - TCP 22 in the tunnel to the local sshd.
 *
 * The SYN is held while the local target is dialled, and is accepted only when that stands: a dead sshd is a refused
 * connection at once. A repeated SYN is swallowed by the stack while the first is held, and so does not dial twice. Held
 * SYNs count towards the limit.
 */
#include <stdlib.h>
#include <unistd.h>

#include "agent/agent_internal.h"
#include "base/log.h"
#include "os/stream.h"

#define N_CONNS_MAX 100 /* N-AGT: number 101 is refused at once */
#define SSH_PORT 22
#define DIAL_TIMEOUT (5 * NSEC_PER_SEC)

struct forward {
	struct list link;
	struct agent *a;
	struct ip_addr remote;
	struct net_syn *syn;
	struct os_dial *dial;
	int fd;
	struct net_tcp *c;
	struct tunnel_bridge *bridge;
};

static void forward_free(struct forward *f)
{
	struct agent *a = f->a;

	list_del(&f->link);
	a->n_forwards--;
	free(f);
	agent_forward_ended(a);
}

static void on_bridge_end(void *ctx, struct tunnel_bridge *b, enum err e)
{
	log_debug("forward ended result=%s", err_name(e));
	forward_free(ctx);
}

static void on_accepted(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct forward *f = ctx;

	if (ev == NET_TCP_CONNECTED &&
	    tunnel_bridge_start(f->a->loop, f->a->tunnel, f->fd, c, on_bridge_end, f, &f->bridge) == OK)
		return;
	if (ev != NET_TCP_CONNECTED && ev != NET_TCP_ERROR)
		return;
	net_tcp_abort(c);
	close(f->fd);
	forward_free(f);
}

/* Said when it changes, not for each connection. */
static void note_reachable(struct agent *a, bool yes, enum err e)
{
	if (a->health.ssh == (yes ? AGENT_SSH_REACHABLE : AGENT_SSH_UNREACHABLE))
		return;
	a->health.ssh = yes ? AGENT_SSH_REACHABLE : AGENT_SSH_UNREACHABLE;
	if (yes)
		log_info("SSH server is reachable addr=%s", a->cfg.ssh_addr);
	else
		log_warn("SSH server is not reachable addr=%s error=%s", a->cfg.ssh_addr, err_text(e));
	os_timer_set(&a->report_timer, os_loop_now(a->loop));
}

static void on_dialled(void *ctx, enum err e, int fd)
{
	struct forward *f = ctx;
	struct agent *a = f->a;
	struct net_syn *syn = f->syn;

	f->dial = NULL;
	f->syn = NULL;
	note_reachable(a, e == OK, e);
	if (!syn) { /* it ended while we dialled */
		if (e == OK)
			close(fd);
		forward_free(f);
		return;
	}
	net_syn_set_gone(syn, NULL, NULL);
	if (e != OK) {
		net_syn_refuse(syn);
		forward_free(f);
	} else {
		f->fd = fd;
		if (net_syn_accept(syn, on_accepted, f, &f->c) != OK) {
			close(fd);
			forward_free(f);
		}
	}
	tunnel_kick(a->tunnel);
}

static void on_syn_gone(void *ctx)
{
	struct forward *f = ctx;

	f->syn = NULL;
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct agent *a = ctx;
	struct forward *f = calloc(1, sizeof(*f));
	nsec_t deadline = os_loop_now(a->loop) + DIAL_TIMEOUT;
	enum err e;

	if (!f) {
		net_syn_refuse(syn);
		return;
	}
	*f = (struct forward){ .a = a, .remote = remote->ip, .syn = syn, .fd = -1 };
	list_add_tail(&a->forwards, &f->link);
	a->n_forwards++;
	net_syn_set_gone(syn, on_syn_gone, f);
	e = os_dial_start(a->loop, a->cfg.ssh_addr, deadline, on_dialled, f, &f->dial);
	if (e != OK) {
		note_reachable(a, false, e);
		net_syn_set_gone(syn, NULL, NULL);
		net_syn_refuse(syn);
		forward_free(f);
	}
}

enum err agent_forward_open(struct agent *a)
{
	return net_tcp_listen(tunnel_if(a->tunnel), SSH_PORT, N_CONNS_MAX, on_syn, a, &a->listener);
}

void agent_forward_refuse(struct agent *a)
{
	net_listener_close(a->listener);
	a->listener = NULL;
	tunnel_kick(a->tunnel);
}

const struct ip_addr *agent_forward_remote(const struct agent *a, size_t i)
{
	const struct list *it = a->forwards.next;

	while (i-- > 0)
		it = it->next;
	return &container_of(it, struct forward, link)->remote;
}

void agent_forward_close(struct agent *a)
{
	list_for_each_safe(it, &a->forwards) {
		struct forward *f = container_of(it, struct forward, link);

		if (f->bridge) {
			tunnel_bridge_abort(f->bridge);
		} else if (f->c) { /* accepted, and not answered yet */
			net_tcp_abort(f->c);
			close(f->fd);
		}
		os_dial_cancel(f->dial);
		if (f->syn) {
			net_syn_set_gone(f->syn, NULL, NULL);
			net_syn_refuse(f->syn);
		}
		list_del(it);
		free(f);
	}
	a->n_forwards = 0;
}
