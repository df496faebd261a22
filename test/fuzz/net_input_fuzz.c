/*
 * The stack with a listener, a socket and a dialled connection, fed a sequence of packets made from the input:
 * each record is a control byte, a length byte and that many bytes. The frame of the packet is made right so that the
 * bytes reach TCP; now and then the sequence and ACK numbers are too, so that they reach deep states. Congestion control is
 * one or the other by the input's length.
 */
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "netstack/net.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz {
	struct net_if *nif;
	struct net_tcp *tcps[8];
	size_t n_tcps;
	uint32_t seq, ack; /* what we last saw leave */
	uint16_t port;
};

static enum net_output output(void *ctx, const struct iovec *iov, int n, size_t len)
{
	struct fuzz *f = ctx;
	const uint8_t *p = iov[0].iov_base;

	if (iov[0].iov_len >= 40 && p[0] == 0x45 && p[9] == 6) {
		f->port = get_be16(p + 20);
		f->seq = get_be32(p + 24) + (uint32_t)(len - 40);
		f->ack = get_be32(p + 28);
	}
	return NET_OUTPUT_OK;
}

static void on_event(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	uint8_t buf[512];

	if (ev == NET_TCP_READABLE)
		(void)net_tcp_read(c, buf, sizeof(buf));
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct fuzz *f = ctx;

	if (f->n_tcps < 8 && net_syn_accept(syn, on_event, f, &f->tcps[f->n_tcps]) == OK)
		f->n_tcps++;
	else if (f->n_tcps == 8)
		net_syn_refuse(syn);
}

static void on_datagram(void *ctx, struct net_udp *u, const struct endpoint *from, struct bytes data)
{
	if (net_udp_send(u, from, data.p, data.len) != OK)
		return;
}

static void feed(struct fuzz *f, struct pktpool *pool, uint8_t how, const uint8_t *l4, size_t len)
{
	static const uint8_t protos[] = { 6, 6, 6, 17, 1, 58, 6, 6 };
	struct pktbuf *pb = pktbuf_alloc(pool, NULL);
	bool v6 = (how & 7) == 5;
	size_t head = v6 ? 40 : 20;
	uint8_t *p;

	if (!pb)
		return;
	p = pb->data;
	memset(p, 0, head);
	pb->len = (uint16_t)(head + len);
	p[0] = v6 ? 0x60 : 0x45;
	put_be16(p + (v6 ? 4 : 2), (uint16_t)(v6 ? len : head + len));
	p[v6 ? 6 : 9] = protos[how & 7];
	if (v6)
		p[8] = p[24] = 0xfd, p[23] = 2, p[39] = 1;
	else
		memcpy(p + 12, (uint8_t[]){ 10, 99, 0, 2, 10, 99, 0, 1 }, 8);
	memcpy(p + head, l4, len);
	if (protos[how & 7] == 6 && len >= 20) {
		put_be16(p + head, 22);
		put_be16(p + head + 2, how & 0x40 ? f->port : 22);
		if (how & 0x80) {
			put_be32(p + head + 4, f->ack);
			put_be32(p + head + 8, f->seq);
		}
	}
	net_if_input(f->nif, &pb, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rng_seeded rng;
	struct pktpool *pool = pktpool_new(512);
	struct net_config cfg = { .rng = &rng.rng, .pool = pool };
	struct net_if_config icfg = { .n_addrs = 2, .output = output, .answer_echo = true, .reset_closed = true };
	const struct endpoint remote = { { IP_V4, { 10, 99, 0, 2 } }, 22, 0 };
	struct fuzz f = { 0 };
	struct net_listener *l;
	struct net_udp *u;
	nsec_t now = 1000 * NSEC_PER_SEC;

	rng_seeded_init(&rng, 1);
	icfg.ctx = &f;
	icfg.congestion = size & 1 ? "bbr" : "cubic";
	icfg.addrs[0] = (struct ip_prefix){ { IP_V4, { 10, 99, 0, 1 } }, 24 };
	icfg.addrs[1] = (struct ip_prefix){ { IP_V6, { 0xfd, [15] = 1 } }, 64 };
	if (net_init(&cfg, now) != OK || net_if_open(&icfg, &f.nif) != OK ||
	    net_tcp_listen(f.nif, 22, 8, on_syn, &f, &l) != OK ||
	    net_udp_open(f.nif, 53, on_datagram, NULL, &u) != OK ||
	    net_tcp_dial(f.nif, &remote, on_event, &f, &f.tcps[0]) != OK)
		abort();
	f.n_tcps = 1;
	while (size >= 2) {
		size_t len = data[1] < size - 2 ? data[1] : size - 2;

		feed(&f, pool, data[0], data + 2, len);
		if (data[0] & 0x20)
			net_expire(now += 120 * NSEC_PER_MSEC);
		if (data[0] & 0x10)
			(void)net_tcp_write(f.tcps[f.n_tcps - 1], data, len);
		data += 2 + len;
		size -= 2 + len;
	}
	net_expire(now + NSEC_PER_SEC);
	for (size_t i = 0; i < f.n_tcps; i++)
		net_tcp_close(f.tcps[i]);
	net_udp_close(u);
	net_listener_close(l);
	net_if_close(f.nif);
	net_fini();
	pktpool_free(pool); /* asserts that every unit came back */
	return 0;
}
