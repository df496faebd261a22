/*
 * test/unit/wg/reliability_test.c - defects that other implementations of WireGuard have had, one named test each.
 *
 * Two devices on a virtual clock (test/lib/wgpair.h); what a test needs of a device's inside it reads through
 * wg/device_internal.h. What device_test.c proves already is not repeated.
 */
#include "test/lib/wgpair.h"

#include "base/endian.h"
#include "wg/device_internal.h"

static struct wg_peer *peer_of(struct wgside *s)
{
	return wg_peer_get(s->dev, s->peer);
}

static struct endpoint stranger(uint16_t port)
{
	return (struct endpoint){ ip_addr_v4(203, 0, 113, 9), port, 0 };
}

/* An initiation that only MAC1 speaks for: all that a stranger who knows the public key can make. */
static void forge_initiation(struct wgpair *p, const struct wgside *to, struct wg_msg_initiation *ret)
{
	struct wg_cookie_maker maker;

	rng_bytes(&p->rng.rng, ret, sizeof(*ret));
	put_le32(ret->type, WG_MSG_INITIATION);
	wg_cookie_maker_init(&maker, to->pub.b);
	wg_cookie_sign(&maker, p->now, (uint8_t *)ret, sizeof(*ret));
}

static void flood(struct wgpair *p, struct wgside *to, const struct endpoint *from, int n)
{
	struct wg_msg_initiation msg;
	struct wg_tx tx;

	for (int i = 0; i < n; i++) {
		forge_initiation(p, to, &msg);
		wgpair_inject(p, to, from, &msg, sizeof(msg));
		while (wg_device_next_tx(to->dev, p->now, &tx))
			wg_device_tx_done(to->dev);
	}
}

/* From as many sources that the device as a whole is under load. */
static void flood_from_everywhere(struct wgpair *p, struct wgside *to)
{
	for (int i = 0; i < 500; i++) {
		struct endpoint from = { ip_addr_v4(198, 18, (uint8_t)(i >> 8), (uint8_t)i), 7, 0 };

		flood(p, to, &from, 1);
	}
}

/* A data message of @from's session, with any counter and plaintext. Return: its length. */
static size_t forge_data(struct wgside *from, uint64_t counter, const void *plain, size_t len, uint8_t *ret)
{
	struct wg_keypair *kp = peer_of(from)->current;
	struct wg_aead_job job = { .key = kp->keys.send, .counter = counter, .src = plain, .dst = ret + 16, .len = len };

	put_le32(ret, WG_MSG_DATA);
	put_le32(ret + 4, kp->remote_index);
	put_le64(ret + 8, counter);
	wg_aead_find(NULL)->seal(&job, 1);
	return len + WG_DATA_OVERHEAD;
}

static bool at_endpoint(struct wgside *s, const struct endpoint *ep)
{
	return endpoint_equal(&peer_of(s)->path.remote, ep);
}

/* ---- what the wire kept ---- */

struct kept {
	struct { struct wgside *from; size_t len; uint8_t b[2048]; } *msgs;
	size_t n, max;
	int type;     /* 0 = all */
	bool deliver; /* after keeping a copy */
};

static void kept_init(struct wgpair *p, struct kept *k, size_t max, int type, bool deliver)
{
	*k = (struct kept){ .msgs = calloc(max, sizeof(*k->msgs)), .max = max, .type = type, .deliver = deliver };
	assert_non_null(k->msgs);
	p->wire_ctx = k;
}

static bool keep(struct wgpair *p, struct wgside *from, uint8_t *msg, size_t *len, void *ctx)
{
	struct kept *k = ctx;

	if (k->type && msg[0] != k->type)
		return true;
	assert_true(k->n < k->max && *len <= sizeof(k->msgs[0].b));
	k->msgs[k->n].from = from;
	k->msgs[k->n].len = *len;
	memcpy(k->msgs[k->n].b, msg, *len);
	k->n++;
	return k->deliver;
}

static void release(struct wgpair *p, struct kept *k, size_t i)
{
	struct wgside *from = k->msgs[i].from;

	wgpair_inject(p, from == &p->a ? &p->b : &p->a, &from->ep, k->msgs[i].b, k->msgs[i].len);
}

/* ---- cookies and load ---- */

/* cookie: MAC2 covers the source port. */
static void cookie_is_bound_to_the_source_port(void **state)
{
	struct wgpair p;
	struct kept k;
	struct endpoint elsewhere;
	uint64_t cookies;

	wgpair_init(&p, 1);
	flood_from_everywhere(&p, &p.b);
	wg_peer_connect(p.a.dev, p.a.peer, p.now);
	wgpair_pump(&p);
	assert_int_equal(p.b.n_cookie, 1);
	assert_false(wg_peer_is_up(p.a.dev, p.a.peer, p.now));
	kept_init(&p, &k, 8, WG_MSG_INITIATION, false);
	p.wire = keep;
	wgpair_run(&p, 5400 * NSEC_PER_MSEC);
	assert_int_equal(k.n, 1);
	p.wire = NULL;
	flood_from_everywhere(&p, &p.b);
	elsewhere = p.a.ep;
	elsewhere.port++;
	cookies = p.b.n_cookie;
	wgpair_inject(&p, &p.b, &elsewhere, k.msgs[0].b, k.msgs[0].len);
	wgpair_pump(&p);
	assert_int_equal(p.b.n_cookie, cookies + 1);
	assert_int_equal(p.b.n_resp, 0);
	release(&p, &k, 0);
	wgpair_pump(&p);
	assert_int_equal(p.b.n_resp, 1);
	assert_true(wg_peer_is_up(p.a.dev, p.a.peer, p.now));
	free(k.msgs);
	wgpair_fini(&p);
}

static void cookie_of_an_old_secret_is_refused(void **state)
{
	struct wgpair p;
	struct kept k;

	wgpair_init(&p, 2);
	flood_from_everywhere(&p, &p.b);
	wg_peer_connect(p.a.dev, p.a.peer, p.now);
	wgpair_pump(&p);
	kept_init(&p, &k, 8, WG_MSG_INITIATION, false);
	p.wire = keep;
	wgpair_run(&p, 5400 * NSEC_PER_MSEC);
	p.wire = NULL;
	p.now += 121 * NSEC_PER_SEC;
	flood_from_everywhere(&p, &p.b);
	release(&p, &k, 0);
	wgpair_pump(&p);
	assert_int_equal(p.b.n_resp, 0);
	assert_int_equal(p.b.n_cookie, 2);
	free(k.msgs);
	wgpair_fini(&p);
}

/* limits: a flood from A puts neither B in cookie mode nor the device under load. */
static void flood_from_one_source_leaves_others_at_the_first_try(void **state)
{
	struct wgpair p;
	struct endpoint a = stranger(9);
	struct wg_device_stats stats;

	wgpair_init(&p, 3);
	for (int i = 0; i < 20; i++) {
		flood(&p, &p.b, &a, 200);
		p.now += 10 * NSEC_PER_MSEC;
	}
	wg_device_get_stats(p.b.dev, &stats);
	assert_true(stats.n_rx_cookie_sent > 3000);
	wg_peer_connect(p.a.dev, p.a.peer, p.now);
	wgpair_pump(&p);
	assert_int_equal(p.a.n_init, 1);
	assert_int_equal(p.b.n_cookie, 0);
	assert_true(wg_peer_is_up(p.a.dev, p.a.peer, p.now));
	wgpair_fini(&p);
}

/* Many sources at once: the second try, with the cookie, is served although the flood goes on. */
static void flood_from_everywhere_costs_one_retry(void **state)
{
	struct wgpair p;

	wgpair_init(&p, 4);
	flood_from_everywhere(&p, &p.b);
	wg_peer_connect(p.a.dev, p.a.peer, p.now);
	wgpair_pump(&p);
	for (int i = 0; i < 60 && !wg_peer_is_up(p.a.dev, p.a.peer, p.now); i++) {
		flood_from_everywhere(&p, &p.b);
		wgpair_run(&p, 100 * NSEC_PER_MSEC);
	}
	assert_true(wg_peer_is_up(p.a.dev, p.a.peer, p.now));
	assert_int_equal(p.a.n_init, 2);
	assert_int_equal(p.b.n_cookie, 1);
	wgpair_fini(&p);
}

#define N_CLIENTS 1000

struct star {
	nsec_t now;
	struct rng_seeded rng;
	struct pktpool *pool;
	struct wg_device *hub, *clients[N_CLIENTS];
	wg_peer_id peers[N_CLIENTS]; /* the hub's names for them */
	struct wg_public_key hub_pub;
};

static struct wg_device *star_device(struct star *s, struct wg_public_key *ret_pub)
{
	struct wg_config cfg = { .pool = s->pool, .rng = &s->rng.rng };
	struct wg_device *dev = wg_device_new(&cfg, s->now, s->now);
	struct wg_private_key priv;

	assert_non_null(dev);
	wg_generate_private(&s->rng.rng, &priv);
	wg_device_set_private(dev, &priv, s->now);
	*ret_pub = *wg_device_public(dev);
	return dev;
}

static struct endpoint star_endpoint(int i)
{
	return (struct endpoint){ ip_addr_v4(192, 0, 2, 50), (uint16_t)(1000 + i), 0 };
}

static void star_init(struct star *s)
{
	struct endpoint hub_ep = { ip_addr_v4(192, 0, 2, 1), 51820, 0 };

	memset(s, 0, sizeof(*s));
	rng_seeded_init(&s->rng, 77);
	s->now = 1000 * NSEC_PER_SEC;
	s->pool = pktpool_new(4096);
	s->hub = star_device(s, &s->hub_pub);
	for (int i = 0; i < N_CLIENTS; i++) {
		struct wg_public_key pub;
		wg_peer_id hub;

		s->clients[i] = star_device(s, &pub);
		assert_int_equal(wg_peer_add(s->hub, &pub, s->now, &s->peers[i]), OK);
		assert_int_equal(wg_peer_add(s->clients[i], &s->hub_pub, s->now, &hub), OK);
		wg_peer_set_endpoint(s->clients[i], hub, &hub_ep, s->now);
		wg_peer_connect(s->clients[i], hub, s->now);
	}
}

static void star_deliver(struct star *s, struct wg_device *to, const struct endpoint *from, const struct wg_tx *tx)
{
	struct path_addr path = { .remote = *from };
	struct wg_datagram d = { tx->p, tx->len, &path };
	struct wg_event ev;

	wg_device_input(to, s->now, &d, 1);
	while (wg_device_next_event(to, &ev))
		;
}

static void star_move(struct star *s)
{
	struct endpoint hub_ep = { ip_addr_v4(192, 0, 2, 1), 51820, 0 };
	struct wg_tx tx;

	for (int i = 0; i < N_CLIENTS; i++) {
		struct endpoint ep = star_endpoint(i);

		wg_device_expire(s->clients[i], s->now);
		for (; wg_device_next_tx(s->clients[i], s->now, &tx); wg_device_tx_done(s->clients[i]))
			star_deliver(s, s->hub, &ep, &tx);
	}
	wg_device_expire(s->hub, s->now);
	for (; wg_device_next_tx(s->hub, s->now, &tx); wg_device_tx_done(s->hub))
		star_deliver(s, s->clients[tx.path.remote.port - 1000], &hub_ep, &tx);
}

static int star_n_up(struct star *s)
{
	int n = 0;

	for (int i = 0; i < N_CLIENTS; i++)
		n += wg_peer_is_up(s->hub, s->peers[i], s->now);
	return n;
}

/* A NAT, or a hub that restarted: they are not an attack, and no one of them is left out. */
static void a_thousand_peers_behind_one_address_come_back(void **state)
{
	static struct star s;
	nsec_t start;

	star_init(&s);
	for (start = s.now; s.now < start + 6 * NSEC_PER_SEC && star_n_up(&s) < N_CLIENTS; s.now += 10 * NSEC_PER_MSEC)
		star_move(&s);
	assert_int_equal(star_n_up(&s), N_CLIENTS);
	for (int i = 0; i < N_CLIENTS; i++)
		wg_device_free(s.clients[i]);
	wg_device_free(s.hub);
	pktpool_free(s.pool);
}

/* ---- counters ---- */

static void session_ends_at_the_send_limit(void **state)
{
	struct wgpair p;
	struct wg_keypair *kp;

	wgpair_init(&p, 10);
	wgpair_connect(&p);
	wgpair_run(&p, 6 * NSEC_PER_SEC);
	p.a.n_init = 0;
	kp = peer_of(&p.a)->current;
	kp->send_counter = WG_REKEY_AFTER_MESSAGES - 1;
	assert_int_equal(wgpair_send(&p, &p.a, 84, NULL), WG_SEND_OK);
	wgpair_pump(&p);
	assert_int_equal(p.a.n_init, 0);
	p.wire = NULL;
	assert_int_equal(wgpair_send(&p, &p.a, 84, NULL), WG_SEND_OK);
	wgpair_pump(&p);
	assert_int_equal(p.a.n_init, 1);
	assert_int_equal(p.b.n_rx, 2);
	assert_ptr_not_equal(peer_of(&p.a)->current, kp);

	wgpair_run(&p, 6 * NSEC_PER_SEC);
	kp = peer_of(&p.a)->current;
	kp->send_counter = WG_REJECT_AFTER_MESSAGES - 1;
	/* The last one goes, and a new session is asked for with it; without it nothing goes. */
	assert_int_equal(wgpair_send(&p, &p.a, 84, NULL), WG_SEND_OK);
	assert_false(wg_peer_is_up(p.a.dev, p.a.peer, p.now));
	assert_int_equal(wgpair_send(&p, &p.a, 84, NULL), WG_SEND_STAGED);
	assert_int_equal(kp->send_counter, WG_REJECT_AFTER_MESSAGES);
	wgpair_pump(&p);
	assert_int_equal(p.b.n_rx, 4);
	assert_true(peer_of(&p.a)->current->send_counter < 10);
	wgpair_fini(&p);
}

static void counters_beyond_the_limit_are_refused(void **state)
{
	static const uint64_t bad[] = { WG_REJECT_AFTER_MESSAGES, WG_REJECT_AFTER_MESSAGES + 1, UINT64_MAX - 1, UINT64_MAX };
	struct wgpair p;
	uint8_t msg[64];
	size_t len;

	wgpair_init(&p, 11);
	wgpair_connect(&p);
	/* Refused before it is opened and after: the window stands where it was. */
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		len = forge_data(&p.a, bad[i], NULL, 0, msg);
		wgpair_inject(&p, &p.b, &p.a.ep, msg, len);
		assert_int_equal(peer_of(&p.b)->n_replayed, i + 1);
	}
	wgpair_send(&p, &p.a, 84, NULL);
	wgpair_pump(&p);
	assert_int_equal(p.b.n_rx, 1);
	/* 64 bits of it count, not 32. */
	len = forge_data(&p.a, 1ULL << 32, NULL, 0, msg);
	wgpair_inject(&p, &p.b, &p.a.ep, msg, len);
	len = forge_data(&p.a, WG_REJECT_AFTER_MESSAGES - 1, NULL, 0, msg);
	wgpair_inject(&p, &p.b, &p.a.ep, msg, len);
	assert_int_equal(peer_of(&p.b)->n_replayed, ARRAY_SIZE(bad));
	assert_int_equal(peer_of(&p.b)->n_auth_failed, 0);
	wgpair_fini(&p);
}

static void reordered_by_4000_nothing_is_lost(void **state)
{
	struct wgpair p;
	struct kept k;

	wgpair_init(&p, 12);
	wgpair_connect(&p);
	kept_init(&p, &k, 4001, WG_MSG_DATA, false);
	p.wire = keep;
	for (int i = 0; i < 4001; i++)
		assert_int_equal(wgpair_send(&p, &p.a, 40, NULL), WG_SEND_OK);
	wgpair_pump(&p);
	assert_int_equal(k.n, 4001);
	release(&p, &k, 4000);
	for (size_t i = 0; i < 4000; i++)
		release(&p, &k, i);
	assert_int_equal(p.b.n_rx, 4001);
	for (size_t i = 0; i <= 4000; i++)
		release(&p, &k, i);
	assert_int_equal(p.b.n_rx, 4001);
	assert_int_equal(peer_of(&p.b)->n_replayed, 4001);
	free(k.msgs);
	wgpair_fini(&p);
}

/* Whatever was recorded, sent again later from elsewhere: no packet, no session, no roaming. */
static void recorded_messages_do_nothing(void **state)
{
	static const unsigned after[] = { 0, 1, 118, 62, 400 };
	struct endpoint elsewhere = stranger(4000);
	struct wgpair p;
	struct kept k;

	wgpair_init(&p, 13);
	kept_init(&p, &k, 100, 0, true);
	p.wire = keep;
	wgpair_connect(&p);
	for (int i = 0; i < 10; i++) {
		wgpair_send(&p, &p.a, 84, NULL);
		wgpair_send(&p, &p.b, 84, NULL);
		wgpair_pump(&p);
	}
	p.wire = NULL;
	for (size_t t = 0; t < ARRAY_SIZE(after); t++) {
		wgpair_run(&p, after[t] * NSEC_PER_SEC);
		for (size_t i = 0; i < k.n; i++) {
			wgpair_inject(&p, &p.a, &elsewhere, k.msgs[i].b, k.msgs[i].len);
			wgpair_inject(&p, &p.b, &elsewhere, k.msgs[i].b, k.msgs[i].len);
		}
		assert_true(at_endpoint(&p.a, &p.b.ep) && at_endpoint(&p.b, &p.a.ep));
		assert_int_equal(p.a.n_rx, 10);
		assert_int_equal(p.b.n_rx, 10);
		wgpair_pump(&p);
	}
	free(k.msgs);
	wgpair_fini(&p);
}

/* ---- datagrams ---- */

/* With the index of a live session, so that the cipher is reached; each in a block of its exact size. */
static void random_datagrams_of_any_length_are_refused(void **state)
{
	struct wgpair p;
	uint32_t index;

	wgpair_init(&p, 20);
	wgpair_connect(&p);
	index = peer_of(&p.b)->current->local_index;
	for (size_t len = 1; len <= 65535; len += 1 + len / 500) {
		uint8_t *msg = malloc(len);

		assert_non_null(msg);
		rng_bytes(&p.rng.rng, msg, len);
		if (len >= 8) {
			put_le32(msg, WG_MSG_DATA);
			put_le32(msg + 4, index);
		}
		wgpair_inject(&p, &p.b, &p.a.ep, msg, len);
		free(msg);
	}
	assert_int_equal(p.b.n_rx, 0);
	assert_true(peer_of(&p.b)->n_auth_failed > 500);
	wgpair_send(&p, &p.a, 84, NULL);
	wgpair_pump(&p);
	assert_int_equal(p.b.n_rx, 1);
	wgpair_fini(&p);
}

/* Sealed by a peer that has the keys: longer than any buffer of ours, or with lengths inside that lie. */
static void authentic_oversize_is_refused(void **state)
{
	static const size_t lens[] = { PKTBUF_DATA - 1, PKTBUF_DATA, PKTBUF_DATA + 1, 4096, 65535 - WG_DATA_OVERHEAD };
	static uint8_t plain[65536], msg[65536];
	struct wgpair p;
	uint64_t counter = 100;

	wgpair_init(&p, 21);
	wgpair_connect(&p);
	plain[0] = 0x45;
	memcpy(plain + 12, p.a.inner.b, 4);
	memcpy(plain + 16, p.b.inner.b, 4);
	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		uint32_t before = p.b.n_rx;

		put_be16(plain + 2, (uint16_t)lens[i]);
		wgpair_inject(&p, &p.b, &p.a.ep, msg, forge_data(&p.a, counter++, plain, lens[i], msg));
		assert_int_equal(p.b.n_rx - before, lens[i] <= PKTBUF_DATA);
	}
	p.b.n_rx = 0;
	for (size_t said = 0; said < 65536; said += 1 + said / 16) {
		put_be16(plain + 2, (uint16_t)said);
		wgpair_inject(&p, &p.b, &p.a.ep, msg, forge_data(&p.a, counter++, plain, 100, msg));
		assert_true(p.b.last_len <= PKTBUF_DATA);
		assert_int_equal(p.b.n_rx, said >= 20 && said <= 100);
		p.b.n_rx = 0;
	}
	wgpair_fini(&p);
}

static bool cut_or_flip(struct wgpair *p, struct wgside *from, uint8_t *msg, size_t *len, void *ctx)
{
	int *at = ctx; /* below 4096: flip this byte; from there: cut to this length */

	if (msg[0] != WG_MSG_RESPONSE)
		return true;
	if (*at >= 4096)
		*len = (size_t)*at - 4096;
	else
		msg[*at] ^= 0x40;
	return true;
}

static void every_byte_of_the_response_counts(void **state)
{
	for (int at = 0; at < 4096 + 92; at = at == 75 ? 4096 : at + 1) {
		struct wgpair p;

		wgpair_init(&p, 22);
		p.wire = cut_or_flip;
		p.wire_ctx = &at;
		wg_peer_connect(p.a.dev, p.a.peer, p.now);
		wgpair_pump(&p);
		/* Bytes 4 to 7, the sender's index, are behind MAC1 alone, which the flip breaks. */
		assert_false(wg_peer_is_up(p.a.dev, p.a.peer, p.now));
		/* It is as it was: the true one still counts. */
		p.wire = NULL;
		wgpair_run(&p, 6 * NSEC_PER_SEC);
		assert_true(wg_peer_is_up(p.a.dev, p.a.peer, p.now));
		wgpair_fini(&p);
	}
}

static void every_byte_of_data_counts(void **state)
{
	struct wgpair p;
	struct kept k;

	wgpair_init(&p, 23);
	wgpair_connect(&p);
	kept_init(&p, &k, 1, WG_MSG_DATA, false);
	p.wire = keep;
	wgpair_send(&p, &p.a, 84, NULL);
	wgpair_pump(&p);
	for (size_t i = 0; i < k.msgs[0].len * 8; i++) {
		k.msgs[0].b[i / 8] ^= (uint8_t)(1 << i % 8);
		release(&p, &k, 0);
		k.msgs[0].b[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	for (size_t len = k.msgs[0].len; k.msgs[0].len-- > 0;) {
		assert_true(k.msgs[0].len < len);
		release(&p, &k, 0);
	}
	assert_int_equal(p.b.n_rx, 0);
	k.msgs[0].len = 96 + WG_DATA_OVERHEAD;
	release(&p, &k, 0);
	assert_int_equal(p.b.n_rx, 1);
	free(k.msgs);
	wgpair_fini(&p);
}

/* ---- allowed IPs, roaming ---- */

/* allowed-IP: a's packet with the address of another peer of b's; the endpoint roams all the same, as it is authentic. */
static void a_peer_cannot_send_as_another(void **state)
{
	struct wgpair p;
	struct wg_public_key key = { { 9, 9 } };
	struct ip_prefix theirs = { ip_addr_v4(10, 99, 0, 3), 32 };
	wg_peer_id third;

	wgpair_init(&p, 30);
	wgpair_connect(&p);
	assert_int_equal(wg_peer_add(p.b.dev, &key, p.now, &third), OK);
	assert_int_equal(wg_peer_allow(p.b.dev, third, &theirs), OK);
	p.a.ep.port = 4444;
	wgpair_send(&p, &p.a, 84, &theirs.ip);
	wgpair_pump(&p);
	assert_int_equal(p.b.n_rx, 0);
	assert_int_equal(peer_of(&p.b)->n_bad_source, 1);
	assert_true(at_endpoint(&p.b, &p.a.ep));
	/* It moves to the other by the more specific prefix. */
	theirs.ip = p.a.inner;
	assert_int_equal(wg_peer_allow(p.b.dev, third, &theirs), OK);
	wgpair_send(&p, &p.a, 84, NULL);
	wgpair_pump(&p);
	assert_int_equal(p.b.n_rx, 0);
	/* The wider one of a's own does not help against it. */
	theirs.bits = 24;
	assert_int_equal(wg_peer_allow(p.b.dev, p.b.peer, &theirs), OK);
	wgpair_send(&p, &p.a, 84, NULL);
	wgpair_pump(&p);
	assert_int_equal(p.b.n_rx, 0);
	wg_peer_remove(p.b.dev, third);
	wgpair_send(&p, &p.a, 84, NULL);
	wgpair_pump(&p);
	assert_int_equal(p.b.n_rx, 1);
	wgpair_fini(&p);
}

static void a_cookie_reply_moves_nobody(void **state)
{
	struct wgpair p;
	struct kept k;
	struct endpoint elsewhere = stranger(5);
	struct wg_peer_info info;

	wgpair_init(&p, 31);
	flood_from_everywhere(&p, &p.b);
	kept_init(&p, &k, 1, WG_MSG_COOKIE, false);
	p.wire = keep;
	wg_peer_connect(p.a.dev, p.a.peer, p.now);
	wgpair_pump(&p);
	assert_int_equal(k.n, 1);
	wgpair_inject(&p, &p.a, &elsewhere, k.msgs[0].b, k.msgs[0].len);
	wg_peer_get_info(p.a.dev, p.a.peer, p.now, &info);
	assert_int_equal(info.rx_bytes, 64); /* it was taken */
	assert_true(at_endpoint(&p.a, &p.b.ep));
	/* Only once, and only unchanged. */
	wgpair_inject(&p, &p.a, &elsewhere, k.msgs[0].b, k.msgs[0].len);
	wg_peer_get_info(p.a.dev, p.a.peer, p.now, &info);
	assert_int_equal(info.rx_bytes, 64);
	free(k.msgs);
	wgpair_fini(&p);
}

static void a_replay_or_a_forgery_moves_nobody(void **state)
{
	struct wgpair p;
	struct kept k;
	struct endpoint elsewhere = stranger(6);

	wgpair_init(&p, 32);
	wgpair_connect(&p);
	kept_init(&p, &k, 1, WG_MSG_DATA, true);
	p.wire = keep;
	wgpair_send(&p, &p.a, 84, NULL);
	wgpair_pump(&p);
	wgpair_inject(&p, &p.b, &elsewhere, k.msgs[0].b, k.msgs[0].len);
	assert_int_equal(peer_of(&p.b)->n_replayed, 1);
	assert_true(at_endpoint(&p.b, &p.a.ep));
	put_le64(k.msgs[0].b + 8, 1000);
	wgpair_inject(&p, &p.b, &elsewhere, k.msgs[0].b, k.msgs[0].len);
	assert_int_equal(peer_of(&p.b)->n_auth_failed, 1);
	assert_true(at_endpoint(&p.b, &p.a.ep));
	free(k.msgs);
	wgpair_fini(&p);
}

static void any_authentic_message_moves_the_endpoint(void **state)
{
	struct wgpair p;
	uint8_t msg[64];

	wgpair_init(&p, 33);
	wgpair_connect(&p);
	p.a.ep.port = 1111; /* data */
	wgpair_send(&p, &p.a, 84, NULL);
	wgpair_pump(&p);
	assert_true(at_endpoint(&p.b, &p.a.ep));
	p.a.ep = stranger(2222); /* a keepalive */
	wgpair_inject(&p, &p.b, &p.a.ep, msg, forge_data(&p.a, 50, NULL, 0, msg));
	assert_true(at_endpoint(&p.b, &p.a.ep));
	p.a.ep.ip = (struct ip_addr){ IP_V6, { 0x20, 1, 0xd, 0xb8, [15] = 7 } }; /* an initiation, other family */
	wgpair_run(&p, 6 * NSEC_PER_SEC);
	wg_peer_rehandshake(p.a.dev, p.a.peer, p.now);
	p.b.ep.port = 3333; /* and its response */
	wgpair_pump(&p);
	assert_true(at_endpoint(&p.b, &p.a.ep));
	assert_true(at_endpoint(&p.a, &p.b.ep));
	wgpair_send(&p, &p.b, 84, NULL);
	wgpair_pump(&p);
	assert_int_equal(p.a.n_rx, 1);
	wgpair_fini(&p);
}

/* ---- time ---- */

static void idle_packets_are_counted_exactly(void **state)
{
	struct wgpair p;

	wgpair_init(&p, 40);
	wgpair_connect(&p);
	p.a.n_tx = p.b.n_tx = 0;
	wgpair_run(&p, 600 * NSEC_PER_SEC);
	assert_int_equal(p.a.n_tx + p.b.n_tx, 0);
	wgpair_fini(&p);

	/* A sender whose traffic is answered owes nothing: the answer is the keepalive. */
	wgpair_init(&p, 41);
	wgpair_connect(&p);
	p.a.n_tx = p.b.n_tx = 0;
	for (int i = 0; i < 100; i++) {
		wgpair_send(&p, &p.a, 84, NULL);
		wgpair_send(&p, &p.b, 84, NULL);
		wgpair_run(&p, NSEC_PER_SEC);
	}
	assert_int_equal(p.a.n_tx, 100);
	assert_int_equal(p.b.n_tx, 100);
	wgpair_run(&p, 30 * NSEC_PER_SEC);
	/* The last packets crossed; each side had just sent when the other's came, or owes one empty message. */
	assert_true(p.a.n_keepalive + p.b.n_keepalive <= 1 + 2);
	assert_int_equal(p.a.n_tx + p.b.n_tx - p.a.n_init - p.b.n_init - p.a.n_resp - p.b.n_resp - 200,
			 p.a.n_keepalive + p.b.n_keepalive - 1 - (p.a.n_init ? 2 : 0));
	wgpair_fini(&p);
}

static void persistent_keepalive_keeps_its_pace(void **state)
{
	struct wgpair p;

	wgpair_init(&p, 42);
	wgpair_connect(&p);
	wg_peer_set_keepalive(p.a.dev, p.a.peer, 25, p.now);
	wgpair_pump(&p);
	p.a.n_tx = p.b.n_tx = p.a.n_keepalive = 0;
	wgpair_run(&p, 100 * NSEC_PER_SEC);
	assert_int_equal(p.a.n_keepalive, 4);
	assert_int_equal(p.a.n_tx, 4);
	assert_int_equal(p.b.n_tx, 0);
	/* While data flows there is nothing to keep alive. */
	p.a.n_keepalive = 0;
	for (int i = 0; i < 10; i++) {
		wgpair_send(&p, &p.a, 84, NULL);
		wgpair_run(&p, NSEC_PER_SEC);
	}
	assert_int_equal(p.a.n_keepalive, 0);
	wgpair_fini(&p);
}

static void late_responses_are_taken(void **state)
{
	static const nsec_t late[] = { 300 * NSEC_PER_MSEC, 2 * NSEC_PER_SEC, 4900 * NSEC_PER_MSEC };

	for (size_t i = 0; i < ARRAY_SIZE(late); i++) {
		struct wgpair p;
		struct kept k;

		wgpair_init(&p, 43);
		kept_init(&p, &k, 4, WG_MSG_RESPONSE, false);
		p.wire = keep;
		wgpair_send(&p, &p.a, 84, NULL);
		wgpair_run(&p, late[i]);
		assert_int_equal(k.n, 1);
		p.wire = NULL;
		release(&p, &k, 0);
		wgpair_pump(&p);
		assert_int_equal(p.a.n_init, 1);
		assert_int_equal(p.b.n_rx, 1);
		free(k.msgs);
		wgpair_fini(&p);
	}
}

/* Retries have jitter: two devices that began together do not stay together. */
static void retries_are_spread(void **state)
{
	nsec_t at[32], least = NSEC_NEVER, most = 0;

	for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
		struct wgpair p;

		wgpair_init(&p, 100 + i);
		wg_peer_connect(p.a.dev, p.a.peer, p.now);
		at[i] = wg_device_deadline(p.a.dev) - p.now;
		assert_in_range(at[i], WG_REKEY_TIMEOUT, WG_REKEY_TIMEOUT + WG_REKEY_JITTER_MAX - 1);
		least = MIN(least, at[i]);
		most = MAX(most, at[i]);
		wgpair_fini(&p);
	}
	assert_true(most - least > WG_REKEY_JITTER_MAX / 2);
}

static void send_both_ways(struct wgpair *p)
{
	uint32_t a = p->a.n_rx, b = p->b.n_rx;

	wgpair_send(p, &p->a, 84, NULL);
	wgpair_run(p, 6 * NSEC_PER_SEC);
	wgpair_send(p, &p->b, 84, NULL);
	wgpair_run(p, 6 * NSEC_PER_SEC);
	assert_int_equal(p->a.n_rx, a + 1);
	assert_int_equal(p->b.n_rx, b + 1);
}

static void a_clock_that_jumps_does_no_lasting_harm(void **state)
{
	static const int64_t jumps_s[] = { -1, -3600, 7 * 86400, -7 * 86400, 1 };

	for (size_t i = 0; i < ARRAY_SIZE(jumps_s); i++) {
		struct wgpair p;

		/* the monotonic one */
		wgpair_init(&p, 44);
		p.now += 30 * 86400 * NSEC_PER_SEC;
		wgpair_connect(&p);
		send_both_ways(&p);
		p.now += (uint64_t)(jumps_s[i] * (int64_t)NSEC_PER_SEC);
		send_both_ways(&p);
		wgpair_fini(&p);
		/* the wall's */
		wgpair_init(&p, 45);
		wgpair_connect(&p);
		p.wall += (uint64_t)(jumps_s[i] * (int64_t)NSEC_PER_SEC);
		wg_device_set_wall(p.a.dev, p.wall);
		wg_device_set_wall(p.b.dev, p.wall);
		wgpair_run(&p, 200 * NSEC_PER_SEC);
		send_both_ways(&p);
		wgpair_fini(&p);
	}
}

/* CVE-2021-46873: a clock that was once set far ahead. The watermark goes on from there. */
static void a_clock_ten_years_ahead_and_back_locks_nobody_out(void **state)
{
	struct wgpair p;

	wgpair_init(&p, 46);
	wg_device_set_wall(p.a.dev, p.wall + 3650ULL * 86400 * NSEC_PER_SEC);
	wgpair_connect(&p);
	wg_device_set_wall(p.a.dev, p.wall);
	for (int i = 0; i < 5; i++) {
		wgpair_run(&p, 200 * NSEC_PER_SEC);
		assert_false(wg_peer_is_up(p.a.dev, p.a.peer, p.now));
		wgpair_connect(&p);
	}
	wgpair_run(&p, NSEC_PER_SEC);
	wgpair_restart(&p, &p.a, p.a.timestamp);
	wgpair_connect(&p);
	wgpair_fini(&p);
}

/* ---- indices, padding, MTU ---- */

static void indices_are_random_and_never_twice_alive(void **state)
{
	enum { N = 20000 };
	static uint32_t all[N];
	struct wgpair p;
	unsigned ones[32] = { 0 }, steps = 0;

	wgpair_init(&p, 50);
	for (int i = 0; i < N; i++) {
		struct wg_index_entry *e;

		assert_int_equal(wg_index_new(p.a.dev, peer_of(&p.a), NULL, &all[i]), OK);
		assert_int_not_equal(all[i], 0);
		e = wg_index_find(p.a.dev, all[i]);
		assert_true(e && e->index == all[i]);
		for (int bit = 0; bit < 32; bit++)
			ones[bit] += all[i] >> bit & 1;
		steps += i > 0 && all[i] - all[i - 1] < 1u << 24;
	}
	/* Five standard deviations of a fair coin; and no walk in small steps. */
	for (int bit = 0; bit < 32; bit++)
		assert_in_range(ones[bit], N / 2 - 354, N / 2 + 354);
	assert_true(steps < N / 256 * 2);
	/* Every other one goes: the rest is still found, the gone are not. */
	for (int i = 0; i < N; i += 2)
		wg_index_drop(p.a.dev, all[i]);
	for (int i = 0; i < N; i++)
		assert_int_equal(wg_index_find(p.a.dev, all[i]) != NULL, i % 2);
	for (int i = 1; i < N; i += 2)
		wg_index_drop(p.a.dev, all[i]);
	assert_int_equal(p.a.dev->indices.n, 0);
	wgpair_fini(&p);
}

/* A source that repeats itself: 0, then each value twice. */
static void repeat_fill(struct rng *rng, void *buf, size_t len)
{
	static uint32_t n;
	uint32_t v = n++ / 2 % 1000;

	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = (uint8_t)(v >> (i % 4 * 8));
}

static void a_bad_random_source_gives_no_index_twice(void **state)
{
	struct rng rng = { repeat_fill };
	struct wgpair p;
	uint32_t a, b;

	wgpair_init(&p, 51);
	p.a.dev->cfg.rng = &rng;
	for (int i = 0; i < 400; i++) {
		assert_int_equal(wg_index_new(p.a.dev, peer_of(&p.a), NULL, &a), OK);
		assert_int_equal(wg_index_new(p.a.dev, peer_of(&p.a), NULL, &b), OK);
		assert_true(a != 0 && b != 0 && a != b);
	}
	assert_int_equal(p.a.dev->indices.n, 800);
	p.a.dev->cfg.rng = &p.rng.rng;
	wgpair_fini(&p);
}

static void padding_is_zero(void **state)
{
	struct wgpair p;
	struct wg_tx tx;
	uint8_t plain[2048], key[KEY_LEN];

	wgpair_init(&p, 52);
	wgpair_connect(&p);
	memcpy(key, peer_of(&p.a)->current->keys.send, KEY_LEN);
	for (size_t len = 20; len <= 100; len++) {
		struct wg_aead_job job = { .key = key, .dst = plain };

		wgpair_send(&p, &p.a, len, NULL);
		assert_true(wg_device_next_tx(p.a.dev, p.now, &tx));
		job.counter = get_le64(tx.p + 8);
		job.src = tx.p + 16;
		job.len = tx.len - 16;
		wg_aead_find(NULL)->open(&job, 1);
		assert_true(job.ok);
		for (size_t i = len; i < job.len - WG_TAG_LEN; i++)
			assert_int_equal(plain[i], 0);
		wg_device_tx_done(p.a.dev);
	}
	wgpair_fini(&p);
}

static void extreme_mtus(void **state)
{
	static const struct { uint16_t mtu; bool ok; } rows[] = {
		{ 0, true }, { 1, false }, { 575, false }, { 576, true }, { 577, true }, { 1280, true }, { 1420, true },
		{ 1799, true }, { WG_MTU_MAX, true }, { WG_MTU_MAX + 1, false }, { 65535, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct wgpair p;
		struct wg_config cfg;
		struct wg_device *dev;
		size_t mtu = rows[i].mtu ? rows[i].mtu : WG_MTU_DEFAULT;

		wgpair_init(&p, 53);
		cfg = (struct wg_config){ .pool = p.pool, .rng = &p.rng.rng, .mtu = rows[i].mtu };
		dev = wg_device_new(&cfg, p.now, p.wall);
		assert_int_equal(dev != NULL, rows[i].ok);
		wg_device_free(dev);
		if (rows[i].ok) {
			p.a.dev->cfg.mtu = p.b.dev->cfg.mtu = (uint16_t)mtu;
			wgpair_connect(&p);
			assert_int_equal(wgpair_send(&p, &p.a, mtu + 1, NULL), WG_SEND_NO_ROUTE);
			for (size_t len = mtu - 17; len <= mtu; len++) {
				assert_int_equal(wgpair_send(&p, &p.a, len, NULL), WG_SEND_OK);
				wgpair_pump(&p);
				assert_int_equal(p.b.last_len, len);
			}
		}
		wgpair_fini(&p);
	}
}

/* ---- keys ---- */

static void points_of_low_order_give_no_session(void **state)
{
	static const char *const points[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	};

	for (size_t i = 0; i < ARRAY_SIZE(points); i++) {
		struct wgpair p;
		struct wg_public_key key;
		struct wg_msg_initiation msg;
		wg_peer_id id;

		wgpair_init(&p, 60);
		assert_int_equal(hex_decode(points[i], key.b, KEY_LEN), OK);
		assert_false(wg_public_key_is_valid(&key));
		assert_int_equal(wg_peer_add(p.a.dev, &key, p.now, &id), OK);
		wg_peer_set_endpoint(p.a.dev, id, &p.b.ep, p.now);
		wg_peer_connect(p.a.dev, id, p.now);
		wg_peer_set_keepalive(p.a.dev, id, 1, p.now);
		wgpair_run(&p, 20 * NSEC_PER_SEC);
		assert_int_equal(p.a.n_tx, 0);
		/* As the ephemeral of a message to us, with a good MAC1. */
		forge_initiation(&p, &p.b, &msg);
		memcpy(msg.ephemeral, key.b, KEY_LEN);
		wg_cookie_sign(&peer_of(&p.a)->cookie, p.now, (uint8_t *)&msg, sizeof(msg));
		wgpair_inject(&p, &p.b, &p.a.ep, &msg, sizeof(msg));
		wgpair_pump(&p);
		assert_int_equal(p.b.n_tx, 0);
		wgpair_fini(&p);
	}
}

static void our_own_key_is_no_peer(void **state)
{
	struct wgpair p;
	wg_peer_id id;

	wgpair_init(&p, 61);
	assert_int_equal(wg_peer_add(p.a.dev, &p.a.pub, p.now, &id), ERR_INVALID);
	/* a takes b's key: the peer b is itself then, and goes. */
	wg_device_set_private(p.a.dev, &p.b.priv, p.now);
	assert_int_equal(wg_peer_find(p.a.dev, &p.b.pub), 0);
	assert_int_equal(wg_peer_next(p.a.dev, 0), 0);
	wgpair_fini(&p);
}

/* A change of our key ends every session at once, and the new one works within a second. */
static void a_new_private_key_ends_the_old_sessions(void **state)
{
	struct wgpair p;
	struct ip_prefix allowed;
	struct wg_private_key priv;

	wgpair_init(&p, 62);
	wgpair_connect(&p);
	wg_generate_private(&p.rng.rng, &priv);
	wg_device_set_private(p.a.dev, &priv, p.now);
	assert_false(wg_peer_is_up(p.a.dev, p.a.peer, p.now));
	wg_peer_remove(p.b.dev, p.b.peer);
	assert_int_equal(wg_peer_add(p.b.dev, wg_device_public(p.a.dev), p.now, &p.b.peer), OK);
	allowed = (struct ip_prefix){ p.a.inner, 32 };
	assert_int_equal(wg_peer_allow(p.b.dev, p.b.peer, &allowed), OK);
	wgpair_send(&p, &p.a, 84, NULL);
	wgpair_run(&p, NSEC_PER_SEC);
	assert_int_equal(p.b.n_rx, 1);
	wgpair_fini(&p);
}

/*
 * Memory that is given back is searched for every secret that was alive, by a free() of our own in front of the
 * C library's. Under ASan, which has its own, only the structs are looked at.
 */
#define N_SECRETS 256
static uint8_t secrets[N_SECRETS][KEY_LEN];
static size_t n_secrets, n_leaks;

static bool has_secret(const void *p, size_t len)
{
	for (size_t i = 0; i < n_secrets; i++)
		if (memmem(p, len, secrets[i], KEY_LEN))
			return true;
	return false;
}

static void watch(const uint8_t key[KEY_LEN])
{
	static const uint8_t zero[KEY_LEN];

	if (memcmp(key, zero, KEY_LEN) == 0 || has_secret(key, KEY_LEN))
		return;
	assert_true(n_secrets < N_SECRETS);
	memcpy(secrets[n_secrets++], key, KEY_LEN);
}

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
#include <malloc.h>
#define SEES_FREE true
extern void __libc_free(void *p);

void free(void *p)
{
	if (p && n_secrets > 0 && has_secret(p, malloc_usable_size(p)))
		n_leaks++;
	__libc_free(p);
}
#else
#define SEES_FREE false
#endif

static void watch_peer(struct wgside *s)
{
	struct wg_peer *peer = peer_of(s);
	struct wg_keypair *all[] = { peer->current, peer->previous, peer->next };

	watch(peer->psk.b);
	watch(peer->handshake.chaining);
	watch(peer->handshake.key);
	watch(peer->handshake.ephemeral_priv);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		if (!all[i])
			continue;
		watch(all[i]->keys.send);
		watch(all[i]->keys.recv);
	}
}

static void the_search_finds_what_is_there(void **state)
{
	uint8_t *block = calloc(1, 200);

	memset(secrets[0], 0x5a, KEY_LEN);
	n_secrets = 1;
	memset(block + 77, 0x5a, KEY_LEN);
	assert_true(has_secret(block, 200));
	free(block);
	assert_int_equal(n_leaks, SEES_FREE);
	n_leaks = n_secrets = 0;
}

static void keys_do_not_stay_in_freed_memory(void **state)
{
	static struct wgpair p;
	struct wg_psk psk = { { 1, 2, 3, [31] = 4 } };

	wgpair_init(&p, 63);
	wg_peer_set_psk(p.a.dev, p.a.peer, &psk);
	wg_peer_set_psk(p.b.dev, p.b.peer, &psk);
	wgpair_connect(&p);
	watch_peer(&p.a);
	watch_peer(&p.b);
	for (int i = 0; i < 4; i++) {
		wgpair_run(&p, 6 * NSEC_PER_SEC);
		wg_peer_rehandshake(p.a.dev, p.a.peer, p.now);
		watch_peer(&p.a);
		wgpair_send(&p, &p.a, 84, NULL);
		wgpair_pump(&p);
		watch_peer(&p.a);
		watch_peer(&p.b);
	}
	/* An initiation under way, and a run that waits with its key. */
	wgpair_run(&p, 6 * NSEC_PER_SEC);
	wgpair_send(&p, &p.a, 84, NULL);
	wg_peer_rehandshake(p.a.dev, p.a.peer, p.now);
	watch_peer(&p.a);
	watch(p.a.priv.b);
	watch(p.b.priv.b);
	watch(p.b.dev->checker.secret);
	assert_true(n_secrets >= 20);
	wg_device_free(p.a.dev);
	wg_device_free(p.b.dev);
	pktpool_free(p.pool);
	n_secrets = 0;
	assert_int_equal(n_leaks, 0);
}

/* 540 s without a new session: nothing in the peer can open what was recorded. */
static void keys_go_after_three_times_the_lifetime(void **state)
{
	struct wgpair p;
	struct wg_peer *peer;

	wgpair_init(&p, 64);
	wgpair_connect(&p);
	wgpair_send(&p, &p.a, 84, NULL);
	wgpair_pump(&p);
	watch_peer(&p.a);
	p.wire = NULL;
	wgpair_run(&p, 541 * NSEC_PER_SEC);
	peer = peer_of(&p.a);
	assert_null(peer->current);
	assert_null(peer->previous);
	assert_null(peer->next);
	assert_false(has_secret(peer, sizeof(*peer)));
	assert_false(has_secret(p.a.dev, sizeof(*p.a.dev)));
	list_for_each(it, &p.a.dev->free_runs)
		assert_false(has_secret(container_of(it, struct wg_run, link), sizeof(struct wg_run)));
	assert_int_equal(n_leaks, 0);
	n_secrets = 0;
	wgpair_fini(&p);
}

/* A peer that gives two sessions the same index: what waits for the socket is sealed with each one's own key. */
static void sessions_of_one_remote_index_are_kept_apart(void **state)
{
	struct wgpair p;
	struct kept k;
	struct wg_keypair second, *first;
	uint8_t plain[128];
	struct wg_aead_job job;

	wgpair_init(&p, 65);
	wgpair_connect(&p);
	wgpair_run(&p, 6 * NSEC_PER_SEC);
	wgpair_send(&p, &p.a, 84, NULL); /* waits, under the first session */
	kept_init(&p, &k, 8, WG_MSG_DATA, true);
	first = peer_of(&p.a)->current;
	second = *first;
	memset(second.keys.send, 0x77, KEY_LEN);
	second.send_counter = 0;
	peer_of(&p.a)->current = &second;
	wgpair_send(&p, &p.a, 84, NULL);
	peer_of(&p.a)->current = first;
	p.wire = keep;
	wgpair_pump(&p);
	assert_int_equal(k.n, 2);
	job = (struct wg_aead_job){ .key = second.keys.send, .src = k.msgs[1].b + 16, .dst = plain,
				    .len = k.msgs[1].len - 16 };
	assert_int_equal(get_le64(k.msgs[1].b + 8), 0);
	wg_aead_find(NULL)->open(&job, 1);
	assert_true(job.ok);
	free(k.msgs);
	wgpair_fini(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cookie_is_bound_to_the_source_port),
		cmocka_unit_test(cookie_of_an_old_secret_is_refused),
		cmocka_unit_test(flood_from_one_source_leaves_others_at_the_first_try),
		cmocka_unit_test(flood_from_everywhere_costs_one_retry),
		cmocka_unit_test(a_thousand_peers_behind_one_address_come_back),
		cmocka_unit_test(session_ends_at_the_send_limit),
		cmocka_unit_test(counters_beyond_the_limit_are_refused),
		cmocka_unit_test(reordered_by_4000_nothing_is_lost),
		cmocka_unit_test(recorded_messages_do_nothing),
		cmocka_unit_test(random_datagrams_of_any_length_are_refused),
		cmocka_unit_test(authentic_oversize_is_refused),
		cmocka_unit_test(every_byte_of_the_response_counts),
		cmocka_unit_test(every_byte_of_data_counts),
		cmocka_unit_test(a_peer_cannot_send_as_another),
		cmocka_unit_test(a_cookie_reply_moves_nobody),
		cmocka_unit_test(a_replay_or_a_forgery_moves_nobody),
		cmocka_unit_test(any_authentic_message_moves_the_endpoint),
		cmocka_unit_test(idle_packets_are_counted_exactly),
		cmocka_unit_test(persistent_keepalive_keeps_its_pace),
		cmocka_unit_test(late_responses_are_taken),
		cmocka_unit_test(retries_are_spread),
		cmocka_unit_test(a_clock_that_jumps_does_no_lasting_harm),
		cmocka_unit_test(a_clock_ten_years_ahead_and_back_locks_nobody_out),
		cmocka_unit_test(indices_are_random_and_never_twice_alive),
		cmocka_unit_test(a_bad_random_source_gives_no_index_twice),
		cmocka_unit_test(padding_is_zero),
		cmocka_unit_test(extreme_mtus),
		cmocka_unit_test(points_of_low_order_give_no_session),
		cmocka_unit_test(our_own_key_is_no_peer),
		cmocka_unit_test(a_new_private_key_ends_the_old_sessions),
		cmocka_unit_test(the_search_finds_what_is_there),
		cmocka_unit_test(keys_do_not_stay_in_freed_memory),
		cmocka_unit_test(keys_go_after_three_times_the_lifetime),
		cmocka_unit_test(sessions_of_one_remote_index_are_kept_apart),
	};
	return RUN_TESTS(tests);
}
