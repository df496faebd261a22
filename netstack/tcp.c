/*
 * netstack/tcp.c - connections as handles that outlive lwIP's control blocks.
 *
 * lwIP frees a PCB before it tells of an error, and wants ERR_ABRT after an abort inside a callback. So its callbacks
 * here only note what happened; net_tcp_tell_all() tells the owner later, from outside. A handle lives until its owner
 * gives it back, whatever became of the PCB.
 */
#include <stdlib.h>
#include <string.h>

#include "netstack/net_internal.h"

/* ---- events ---- */

void net_tcp_raise(struct net_tcp *c, enum net_tcp_event ev)
{
	c->events |= 1u << ev;
	if (c->held) {
		c->events |= 1u << NET_TCP_READABLE;
		c->held = false;
		list_del(&c->ready);
	}
	if (list_empty(&c->ready))
		list_add_tail(&net_g.ready, &c->ready);
}

void net_tcp_fail(struct net_tcp *c, enum err e)
{
	c->pcb = NULL;
	if (c->failed)
		return;
	c->failed = true;
	c->error = e;
	net_room_leave(c);
	net_tcp_raise(c, NET_TCP_ERROR);
}

static void tell(struct net_tcp *c)
{
	net_g.telling = c;
	for (int ev = NET_TCP_CONNECTED; ev <= NET_TCP_ERROR && net_g.telling == c; ev++) {
		if (!(c->events >> ev & 1))
			continue;
		c->events &= ~(1u << ev);
		c->fn(c->ctx, c, (enum net_tcp_event)ev);
		if (ev == NET_TCP_WRITABLE && net_g.telling == c)
			net_room_end_turn(c);
	}
	net_g.telling = NULL;
}

void net_tcp_tell_all(void)
{
	struct list *first;
	/* What callbacks raise anew is told too, but not without end. */
	int budget = 4096;

	if (net_g.telling)
		return;
	net_held_expire();
	while ((first = list_first(&net_g.ready)) && budget-- > 0) {
		list_del(first);
		tell(container_of(first, struct net_tcp, ready));
	}
}

/* ---- lwIP's callbacks ---- */

static bool rx_push(struct net_tcp *c, struct pbuf *p)
{
	size_t cap = c->rx_cap ? c->rx_cap * 2 : 16;
	struct pbuf **rx;

	if (c->rx_n == c->rx_cap) {
		rx = malloc(cap * sizeof(*rx));
		if (!rx)
			return false;
		for (size_t i = 0; i < c->rx_n; i++)
			rx[i] = c->rx[(c->rx_head + i) % c->rx_cap];
		free(c->rx);
		c->rx = rx;
		c->rx_head = 0;
		c->rx_cap = cap;
	}
	c->rx[(c->rx_head + c->rx_n++) % c->rx_cap] = p;
	c->rx_bytes += p->tot_len;
	net_g.stats.mem_bytes += p->tot_len;
	return true;
}

static err_t on_recv(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
	struct net_tcp *c = arg;
	struct pbuf *copy = p && c->rx_n > 0 ? net_spill(p) : NULL;

	if (!p)
		c->eof = true;
	else if (!rx_push(c, copy ? copy : p)) {
		if (copy)
			pbuf_free(copy);
		return ERR_MEM; /* lwIP keeps it and offers it again */
	}
	net_window_note(c);
	if (!p || !net_held_wait(c, p))
		net_tcp_raise(c, NET_TCP_READABLE);
	if (copy)
		pbuf_free(p);
	return ERR_OK;
}

static err_t on_sent(void *arg, struct tcp_pcb *pcb, u16_t len)
{
	struct net_tcp *c = arg;

	net_room_give_back(c, len);
	if (c->want_sent && c->tx_bytes == 0) {
		c->want_sent = false;
		net_tcp_raise(c, NET_TCP_SENT_ALL);
	}
	return ERR_OK;
}

static void finish(struct net_tcp *c)
{
	c->pcb = NULL;
	net_room_leave(c);
	if (c->want_sent)
		net_tcp_raise(c, NET_TCP_SENT_ALL);
	c->want_sent = c->want_write = false;
}

static void on_err(void *arg, err_t err)
{
	struct net_tcp *c = arg;

	if (!c)
		return;
	/*
	 * Both directions ended in order: no error. What was received can still be read. A reset after that is one too (RFC
	 * 9293 3.10.7.4): our FIN was sent again because its ACK was lost, and the other side has forgotten us since. While
	 * bytes of ours are not acknowledged it is an error, for nobody knows whether they arrived.
	 */
	if (c->eof && c->shut && (err == ERR_CLSD || (err == ERR_RST && c->tx_bytes == 0)))
		finish(c);
	else
		net_tcp_fail(c, err == ERR_RST && !c->connected ? ERR_REFUSED : net_from_lwip_err(err));
}

static err_t on_connected(void *arg, struct tcp_pcb *pcb, err_t err)
{
	struct net_tcp *c = arg;

	c->connected = true;
	/* lwIP went by the MTU of whichever interface its routing finds first. */
	pcb->mss = tcp_eff_send_mss_netif(pcb->mss, &c->nif->lw, &pcb->remote_ip);
	net_pcb_connected(c);
	net_window_start(c);
	net_tcp_raise(c, NET_TCP_CONNECTED);
	if (c->shut) {
		tcp_shutdown(pcb, 0, 1);
		net_pcb_wake(pcb);
	}
	if (!c->shut && c->want_write)
		net_tcp_raise(c, NET_TCP_WRITABLE);
	c->want_write = false;
	return ERR_OK;
}

err_t net_tcp_on_accept(void *arg, struct tcp_pcb *pcb, err_t err)
{
	/* @arg is the handle that net_syn_accept() put there. */
	if (!arg || err != ERR_OK)
		return ERR_VAL;
	return on_connected(arg, pcb, err);
}

void net_tcp_adopt(struct net_tcp *c, struct tcp_pcb *pcb)
{
	c->pcb = pcb;
	net_pcb_own(pcb, c);
	tcp_recv(pcb, on_recv);
	tcp_sent(pcb, on_sent);
	tcp_err(pcb, on_err);
	tcp_nagle_disable(pcb);
	pcb->prio = TCP_PRIO_MAX;
}

/* ---- life ---- */

struct net_tcp *net_tcp_new(struct net_if *nif, struct net_share *share, const struct endpoint *remote, net_tcp_fn fn, void *ctx)
{
	struct net_tcp *c = share ? calloc(1, sizeof(*c)) : NULL;

	if (!c) {
		net_share_give(nif, share);
		return NULL;
	}
	c->nif = nif;
	c->share = share;
	c->remote = *remote;
	c->fn = fn;
	c->ctx = ctx;
	c->rtt_since = net_g.now; /* our SYN or SYN-ACK leaves now */
	list_init(&c->ready);
	list_init(&c->in_line);
	list_init(&c->holds);
	list_add_tail(&nif->tcps, &c->link);
	net_g.stats.n_tcp++;
	return c;
}

void net_tcp_free(struct net_tcp *c)
{
	for (size_t i = 0; i < c->rx_n; i++)
		pbuf_free(c->rx[(c->rx_head + i) % c->rx_cap]);
	net_room_leave(c);
	net_g.stats.mem_bytes -= c->rx_bytes;
	if (c->listener)
		c->listener->n_used--;
	if (net_g.telling == c)
		net_g.telling = NULL;
	if (c->nif)
		net_share_give(c->nif, c->share);
	list_del(&c->link);
	list_del(&c->ready);
	net_g.stats.n_tcp--;
	free(c->rx);
	free(c);
}

static enum err start_connect(struct net_tcp *c, const struct ip_addr *from)
{
	struct tcp_pcb *pcb = tcp_new_ip_type(from->family == IP_V6 ? IPADDR_TYPE_V6 : IPADDR_TYPE_V4);
	ip_addr_t local, remote;
	err_t err = ERR_USE;

	if (!pcb)
		return ERR_NOMEM;
	net_to_lwip(from, &local);
	net_to_lwip(&c->remote.ip, &remote);
	net_tcp_adopt(c, pcb);
	tcp_bind_netif(pcb, &c->nif->lw);
	if (net_port_take(c->nif, pcb, &local, &remote, c->remote.port))
		err = tcp_connect(pcb, &remote, c->remote.port, on_connected);
	if (err != ERR_OK) {
		tcp_arg(pcb, NULL);
		tcp_abort(pcb);
		c->pcb = NULL;
		return net_from_lwip_err(err);
	}
	c->local = (struct endpoint){ *from, pcb->local_port, 0 };
	return OK;
}

enum err net_tcp_dial(struct net_if *nif, const struct endpoint *remote, net_tcp_fn fn, void *ctx,
		      struct net_tcp **ret)
{
	const struct ip_addr *from = net_if_addr(nif, remote->ip.family);
	struct net_tcp *c;
	enum err e;

	if (!from)
		return ERR_NO_ROUTE;
	if (net_g.stats.n_tcp >= net_g.cfg.n_tcp_max) {
		net_g.stats.n_refused_full++;
		return ERR_FULL;
	}
	c = net_tcp_new(nif, net_share_take(nif, &remote->ip), remote, fn, ctx);
	if (!c)
		return ERR_NOMEM;
	e = start_connect(c, from);
	if (e != OK) {
		net_tcp_free(c);
		return e;
	}
	*ret = c;
	return OK;
}

void net_tcp_hurry(struct net_tcp *c)
{
	if (c->pcb && c->pcb->state == SYN_SENT)
		net_pcb_hurry(c->pcb);
}

void net_tcp_set_fn(struct net_tcp *c, net_tcp_fn fn, void *ctx)
{
	c->fn = fn;
	c->ctx = ctx;
}

/* The handle goes, the PCB may stay. */
static void let_go(struct tcp_pcb *pcb)
{
	net_pcb_own(pcb, NULL);
	tcp_recv(pcb, NULL);
	tcp_sent(pcb, NULL);
	tcp_err(pcb, NULL);
}

/* The update goes with the next ACK; when it is a large one, at the end of this turn. */
static void give_window(struct net_tcp *c, size_t len)
{
	struct tcp_pcb *pcb = c->pcb;

	pcb->rcv_wnd = (tcpwnd_size_t)MIN((size_t)pcb->rcv_wnd + len, (size_t)TCP_WND_MAX(pcb));
	if (tcp_update_rcv_ann_wnd(pcb) < TCP_WND_UPDATE_THRESHOLD)
		return;
	tcp_ack_now(pcb);
	net_pcb_wake(pcb);
}

/*
 * Credit for bytes that will not be read, those that found no memory among them, so that lwIP does not answer a close
 * with a reset. It is not offered.
 */
static void forget_unread(struct tcp_pcb *pcb, size_t len)
{
	if (pcb->refused_data) {
		len += pcb->refused_data->tot_len;
		pbuf_free(pcb->refused_data);
		pcb->refused_data = NULL;
	}
	pcb->rcv_wnd = (tcpwnd_size_t)MIN((size_t)pcb->rcv_wnd + len, (size_t)TCP_WND_MAX(pcb));
}

void net_tcp_close(struct net_tcp *c)
{
	struct tcp_pcb *pcb;

	if (!c)
		return;
	pcb = c->pcb;
	if (pcb) {
		forget_unread(pcb, c->rx_bytes + c->wnd_held);
		/* It may be freed by this, and then its place in the queue is too. */
		net_pcb_wake(pcb);
		let_go(pcb);
		tcp_close(pcb);
	}
	net_tcp_free(c);
}

void net_tcp_abort(struct net_tcp *c)
{
	struct tcp_pcb *pcb = c ? c->pcb : NULL;

	if (!c)
		return;
	if (pcb) {
		let_go(pcb);
		tcp_abort(pcb);
	}
	net_tcp_free(c);
}

/* ---- reading ---- */

int net_tcp_peek(struct net_tcp *c, struct iovec *iov, int max)
{
	size_t skip = c->rx_off;
	int n = 0;

	for (size_t i = 0; i < c->rx_n && n < max; i++)
		for (struct pbuf *p = c->rx[(c->rx_head + i) % c->rx_cap]; p && n < max; p = p->next) {
			if (skip >= p->len) {
				skip -= p->len;
				continue;
			}
			iov[n++] = (struct iovec){ (uint8_t *)p->payload + skip, p->len - skip };
			skip = 0;
		}
	return n;
}

void net_tcp_consume(struct net_tcp *c, size_t len)
{
	ASSERT(len <= c->rx_bytes);
	c->rx_bytes -= len;
	net_g.stats.mem_bytes -= len;
	if (c->pcb)
		give_window(c, net_window_drained(c, len));
	c->rx_off += len;
	while (c->rx_n > 0 && c->rx_off >= c->rx[c->rx_head]->tot_len) {
		c->rx_off -= c->rx[c->rx_head]->tot_len;
		pbuf_free(c->rx[c->rx_head]);
		c->rx_head = (c->rx_head + 1) % c->rx_cap;
		c->rx_n--;
	}
}

size_t net_tcp_read(struct net_tcp *c, void *buf, size_t len)
{
	struct iovec iov[16];
	uint8_t *to = buf;
	size_t got = 0;

	while (got < len) {
		int n = net_tcp_peek(c, iov, ARRAY_SIZE(iov));
		size_t taken = 0;

		for (int i = 0; i < n && got + taken < len; i++) {
			size_t part = MIN(iov[i].iov_len, len - got - taken);

			memcpy(to + got + taken, iov[i].iov_base, part);
			taken += part;
		}
		if (taken == 0)
			break;
		net_tcp_consume(c, taken);
		got += taken;
	}
	return got;
}

size_t net_tcp_readable(const struct net_tcp *c)
{
	return c->rx_bytes;
}

bool net_tcp_at_eof(const struct net_tcp *c)
{
	return c->eof && c->rx_bytes == 0;
}

/* ---- writing ---- */

size_t net_tcp_append(struct net_tcp *c, const void *buf, size_t len, bool more)
{
	const uint8_t *p = buf;
	size_t done = 0;

	while (done < len) {
		size_t n = MIN(len - done, (size_t)32768);

		/* PSH on the last of it alone: the other side's reader may wait for that (held.c). */
		if (tcp_write(c->pcb, p + done, (u16_t)n, TCP_WRITE_FLAG_COPY | (more || done + n < len ? TCP_WRITE_FLAG_MORE : 0)) != ERR_OK)
			break;
		net_room_take(c, n);
		done += n;
	}
	return done;
}

void net_tcp_wrote(struct net_tcp *c, size_t len, size_t room, size_t done)
{
	c->want_write = false;
	list_del(&c->in_line);
	if (done < room)
		net_room_starve(c);
	else if (done < len)
		net_room_ask(c);
	c->want_sent = c->tx_bytes > 0;
	if (done > 0)
		net_pcb_wake(c->pcb);
}

size_t net_tcp_write(struct net_tcp *c, const void *buf, size_t len)
{
	/* Asked once: a writer relies on the room that it was told of, whatever is counted while it is used. */
	size_t room = MIN(len, net_tcp_writable(c)), done = net_tcp_append(c, buf, room, false);

	net_tcp_wrote(c, len, room, done);
	return done;
}

void net_tcp_shutdown(struct net_tcp *c)
{
	if (c->shut)
		return;
	c->shut = true;
	if (c->pcb && c->connected) {
		tcp_shutdown(c->pcb, 0, 1);
		net_pcb_wake(c->pcb);
	}
}

/* ---- looking ---- */

enum err net_tcp_error(const struct net_tcp *c)
{
	return c->error;
}

bool net_tcp_is_connected(const struct net_tcp *c)
{
	return c->connected && !c->failed;
}

void net_tcp_get_addrs(const struct net_tcp *c, struct endpoint *ret_local, struct endpoint *ret_remote)
{
	*ret_local = c->local;
	*ret_remote = c->remote;
}
