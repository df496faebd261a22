/* test/lib/wgpair.c - see wgpair.h. */
#include "test/lib/wgpair.h"

#include "base/endian.h"

static struct wgside *other(struct wgpair *p, struct wgside *s)
{
	return s == &p->a ? &p->b : &p->a;
}

static void drain_quiet(struct wgside *s)
{
	struct wg_event ev;
	struct wg_rx rx;

	while (wg_device_next_rx(s->dev, &rx)) {
		s->n_rx++;
		s->last_len = rx.pb->len;
		memcpy(s->last, rx.pb->data, rx.pb->len);
		pktbuf_free(rx.pb);
	}
	while (wg_device_next_event(s->dev, &ev)) {
		s->n_up += ev.kind == WG_EVENT_SESSION_UP;
		s->n_down += ev.kind == WG_EVENT_SESSION_DOWN;
		s->n_failed += ev.kind == WG_EVENT_HANDSHAKE_FAILED;
		if (ev.kind == WG_EVENT_TIMESTAMP)
			s->timestamp = ev.timestamp;
	}
}

void wgpair_inject(struct wgpair *p, struct wgside *to, const struct endpoint *from, const void *msg, size_t len)
{
	struct path_addr path = { .remote = *from, .local = to->ep.ip };
	struct wg_datagram d = { msg, len, &path };

	if (!p->unwatched)
		wgwatch_came(&p->watch, to == &p->b, msg, len);
	wg_device_input(to->dev, p->now, &d, 1);
	drain_quiet(to);
}

static void count(struct wgside *s, const uint8_t *msg, size_t len)
{
	s->n_tx++;
	s->n_init += msg[0] == 1;
	s->n_resp += msg[0] == 2;
	s->n_cookie += msg[0] == 3;
	s->n_data += msg[0] == 4 && len > 32;
	s->n_keepalive += msg[0] == 4 && len == 32;
}

static void look(struct wgpair *p, const struct wgside *from, const uint8_t *msg, size_t len)
{
	const char *why = p->unwatched ? NULL : wgwatch_sent(&p->watch, from == &p->b, msg, len);

	if (!why)
		return;
	print_message("wire: %s\n", why);
	p->n_bad++;
}

static bool move_one(struct wgpair *p, struct wgside *from)
{
	struct wg_tx tx;
	uint8_t copy[65536], seg[65536];

	drain_quiet(from);
	if (!wg_device_next_tx(from->dev, p->now, &tx))
		return false;
	memcpy(copy, tx.p, tx.len);
	for (size_t off = 0; off < tx.len; off += tx.seg_len) {
		size_t len = MIN((size_t)tx.seg_len, tx.len - off);

		memcpy(seg, copy + off, len);
		count(from, seg, len);
		look(p, from, seg, len);
		if (!p->wire || p->wire(p, from, seg, &len, p->wire_ctx))
			wgpair_inject(p, other(p, from), &from->ep, seg, len);
	}
	wg_device_tx_done(from->dev);
	return true;
}

void wgpair_pump(struct wgpair *p)
{
	for (int i = 0; i < 100000 && ((int)move_one(p, &p->a) | (int)move_one(p, &p->b)); i++)
		;
}

void wgpair_run(struct wgpair *p, nsec_t t)
{
	nsec_t end = p->now + t;

	wgpair_pump(p);
	while (p->now < end) {
		nsec_t next = nsec_min(wg_device_deadline(p->a.dev), wg_device_deadline(p->b.dev));

		next = nsec_min(MAX(next, p->now), end);
		p->wall += next - p->now;
		p->now = next;
		wg_device_expire(p->a.dev, p->now);
		wg_device_expire(p->b.dev, p->now);
		wgpair_pump(p);
	}
}

enum wg_send wgpair_send(struct wgpair *p, struct wgside *from, size_t len, const struct ip_addr *src)
{
	uint8_t pkt[2048] = { 0x45 };
	struct iovec iov[2] = { { pkt, 13 }, { pkt + 13, len - 13 } };

	put_be16(pkt + 2, (uint16_t)len);
	pkt[8] = 64;
	memcpy(pkt + 12, src ? src->b : from->inner.b, 4);
	memcpy(pkt + 16, other(p, from)->inner.b, 4);
	for (size_t i = 20; i < len; i++)
		pkt[i] = (uint8_t)(i * 7);
	return wg_device_send(from->dev, p->now, iov, 2, len);
}

static void side_start(struct wgpair *p, struct wgside *s, uint64_t watermark)
{
	struct wg_config cfg = { .pool = p->pool, .rng = &p->rng.rng, .timestamp_watermark = watermark };
	struct ip_prefix allowed = { other(p, s)->inner, 32 };

	s->dev = wg_device_new(&cfg, p->now, p->wall);
	assert_non_null(s->dev);
	wg_device_set_private(s->dev, &s->priv, p->now);
	assert_int_equal(wg_peer_add(s->dev, &other(p, s)->pub, p->now, &s->peer), OK);
	assert_int_equal(wg_peer_allow(s->dev, s->peer, &allowed), OK);
	wg_peer_set_endpoint(s->dev, s->peer, &other(p, s)->ep, p->now);
}

void wgpair_init(struct wgpair *p, uint64_t seed)
{
	memset(p, 0, sizeof(*p));
	rng_seeded_init(&p->rng, seed);
	p->now = 1000 * NSEC_PER_SEC;
	p->wall = 1700000000 * NSEC_PER_SEC;
	p->pool = pktpool_new(4096);
	for (int i = 0; i < 2; i++) {
		struct wgside *s = i ? &p->b : &p->a;

		wg_generate_private(&p->rng.rng, &s->priv);
		wg_public_from_private(&s->priv, &s->pub);
		s->ep = (struct endpoint){ ip_addr_v4(192, 0, 2, (uint8_t)(i + 1)), 51820, 0 };
		s->inner = ip_addr_v4(10, 99, 0, (uint8_t)(i + 1));
	}
	side_start(p, &p->a, 0);
	side_start(p, &p->b, 0);
}

void wgpair_restart(struct wgpair *p, struct wgside *s, uint64_t watermark)
{
	wg_device_free(s->dev);
	side_start(p, s, watermark);
}

void wgpair_connect(struct wgpair *p)
{
	wg_peer_connect(p->a.dev, p->a.peer, p->now);
	wgpair_pump(p);
	assert_true(wg_peer_is_up(p->a.dev, p->a.peer, p->now));
	assert_true(wg_peer_is_up(p->b.dev, p->b.peer, p->now));
}

void wgpair_fini(struct wgpair *p)
{
	wg_device_free(p->a.dev);
	wg_device_free(p->b.dev);
	/* Asserts that every buffer came back. */
	pktpool_free(p->pool);
	assert_int_equal(p->n_bad, 0);
}
