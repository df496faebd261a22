/* test/lib/tunflows.c - see tunflows.h. */
#include "test/lib/tunflows.h"

#include <errno.h>

#include "test/lib/testing.h"

bool tunflows_stuck;
unsigned tunflows_refused;

ssize_t tunflows_sendmsg(int fd, const struct msghdr *m, int flags)
{
	/* Acknowledgements still pass: TCP would send on. */
	if (!tunflows_stuck || m->msg_iov[0].iov_len < 1000)
		return sendmsg(fd, m, flags);
	tunflows_refused++;
	errno = EAGAIN;
	return -1;
}

/* Tells a byte from its neighbours, and a flow's from another's. */
static uint8_t byte_at(const struct tunflow *f, uint64_t off)
{
	return (uint8_t)((off * 0x9e3779b97f4a7c15ULL >> 32) + f->index);
}

static void on_to(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct tunflow *f = ctx;
	struct iovec iov[64];
	int n;

	while ((n = net_tcp_peek(c, iov, 64)) > 0) {
		size_t len = 0;

		for (int i = 0; i < n; i++) {
			const uint8_t *p = iov[i].iov_base;

			for (size_t k = 0; k < iov[i].iov_len; k += 97)
				assert_int_equal(p[k], byte_at(f, f->got + len + k));
			len += iov[i].iov_len;
		}
		net_tcp_consume(c, len);
		f->got += len;
	}
}

/* Dialled one after the other, they come in that order. */
static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct tunflows *t = ctx;
	struct tunflow *f = &t->flows[t->n_served++];

	assert_int_equal(net_syn_accept(syn, on_to, f, &f->to), OK);
}

static void on_from(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	static uint8_t block[1 << 16];
	struct tunflow *f = ctx;
	size_t n, want;

	if (ev == NET_TCP_ERROR)
		return;
	do {
		want = MIN(sizeof(block), (size_t)(f->each - f->written));
		for (size_t i = 0; i < want; i++)
			block[i] = byte_at(f, f->written + i);
		n = want > 0 ? net_tcp_write(c, block, want) : 0;
		f->written += n;
	} while (n > 0 && n == want);
}

void tunflows_begin(struct tunflows *t, uint64_t each)
{
	enum err e;

	*t = (struct tunflows){ .n_served = 0 };
	tunpair_open(&t->pair, NULL);
	assert_int_equal(net_tcp_listen(tunnel_if(t->pair.agent), 22, TUNFLOWS_N, on_syn, t, &t->l), OK);
	for (size_t i = 0; i < TUNFLOWS_N; i++) {
		struct tunflow *f = &t->flows[i];

		f->index = i;
		f->each = each;
		f->from = tunpair_dial(&t->pair, "10.99.0.2:22", &e);
		assert_non_null(f->from);
		net_tcp_set_fn(f->from, on_from, f);
	}
	for (size_t i = 0; i < TUNFLOWS_N; i++)
		on_from(&t->flows[i], t->flows[i].from, NET_TCP_WRITABLE);
	tunnel_kick(t->pair.hub);
}

void tunflows_end(struct tunflows *t)
{
	for (size_t i = 0; i < TUNFLOWS_N; i++) {
		net_tcp_abort(t->flows[i].from);
		net_tcp_abort(t->flows[i].to);
	}
	net_listener_close(t->l);
	tunpair_close(&t->pair);
}

struct goal {
	const struct tunflows *t;
	uint64_t bytes;
};

static bool is_reached(void *ctx)
{
	const struct goal *g = ctx;
	uint64_t got = 0;

	for (size_t i = 0; i < TUNFLOWS_N; i++)
		got += g->t->flows[i].got;
	return got >= g->bytes;
}

bool tunflows_arrive(struct tunflows *t, unsigned pct, nsec_t limit)
{
	struct goal g = { t, TUNFLOWS_N * t->flows[0].each * pct / 100 };

	return tunpair_run(&t->pair, is_reached, &g, limit);
}
