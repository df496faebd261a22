/*
 * operator/hub_forward.c - a local port whose connections go to a host through the tunnel.
 *
 * The hub listens, so that bytes go from the program's socket to the tunnel without another process in between. A
 * forward belongs to the control connection that asked for it and ends with it; connections that it made stay until
 * their own end. A connection is dialled when it is accepted: a host that does not answer gives a reset, as a
 * closed port would.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "operator/hub_internal.h"

struct hub_forward {
	struct hub *hub;
	struct os_listener *listener;
	struct list dials; /* struct forward_dial */
	size_t n_dials;
	char host[64];
	uint16_t port;
};

struct forward_dial {
	struct list link;
	struct hub_forward *f;
	struct tunnel_dial *dial;
	int fd;
};

#define FORWARD_DIALS_MAX 1024

static void dial_free(struct forward_dial *d)
{
	list_del(&d->link);
	d->f->n_dials--;
	free(d);
}

/* Closing with a reset: the far side did not take the connection. */
static void refuse(int fd)
{
	struct linger hard = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(fd);
}

static void on_dialed(void *ctx, enum err e, struct net_tcp *c)
{
	struct forward_dial *d = ctx;
	struct hub_forward *f = d->f;
	int fd = d->fd;

	dial_free(d);
	if (e == OK)
		e = hub_bridge_join(f->hub, c, true, fd);
	if (e == OK)
		return;
	log_info("forwarded connection failed host=%s error=%s", f->host, err_name(e));
	refuse(fd);
}

static void on_accept(void *ctx, int fd)
{
	struct hub_forward *f = ctx;
	struct hub_host *hh = hub_find(f->hub, f->host);
	struct forward_dial *d = NULL;
	struct endpoint remote;
	enum err e = !hh ? ERR_NOT_FOUND : f->n_dials >= FORWARD_DIALS_MAX ? ERR_FULL : OK;

	if (e == OK) {
		d = calloc(1, sizeof(*d));
		e = d ? OK : ERR_NOMEM;
	}
	if (e == OK) {
		remote = (struct endpoint){ .ip = hh->ip, .port = f->port };
		*d = (struct forward_dial){ .f = f, .fd = fd };
		list_add_tail(&f->dials, &d->link);
		f->n_dials++;
		e = tunnel_dial_start(f->hub->tunnel, &remote, os_now() + HUB_DIAL_MAX, on_dialed, d, &d->dial);
		if (e != OK)
			dial_free(d);
	}
	if (e == OK)
		return;
	log_info("forwarded connection refused host=%s error=%s", f->host, err_name(e));
	refuse(fd);
}

void hub_forward_close(void *forward)
{
	struct hub_forward *f = forward;

	os_listener_close(f->listener);
	list_for_each_safe(it, &f->dials) {
		struct forward_dial *d = container_of(it, struct forward_dial, link);

		tunnel_dial_cancel(d->dial);
		refuse(d->fd);
		dial_free(d);
	}
	free(f);
}

enum err hub_forward_open(struct hub *h, const char *host, uint16_t port, const struct endpoint *bind,
			  struct hub_forward **ret, uint16_t *ret_port)
{
	struct hub_forward *f = calloc(1, sizeof(*f));
	enum err e;

	if (!f)
		return ERR_NOMEM;
	f->hub = h;
	f->port = port;
	list_init(&f->dials);
	snprintf(f->host, sizeof(f->host), "%s", host);
	e = os_listen_tcp(h->loop, bind, on_accept, f, &f->listener);
	if (e != OK) {
		free(f);
		return e;
	}
	*ret_port = os_listener_port(f->listener);
	*ret = f;
	return OK;
}
