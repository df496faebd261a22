/* test/lib/wghostile.c - see wghostile.h. */
#include "test/lib/wghostile.h"

#include "base/endian.h"

struct wg_peer *peer_of(struct wgside *s)
{
	return wg_peer_get(s->dev, s->peer);
}

struct endpoint stranger(uint16_t port)
{
	return (struct endpoint){ ip_addr_v4(203, 0, 113, 9), port, 0 };
}

/* An initiation that only MAC1 speaks for: all that a stranger who knows the public key can make. */
void forge_initiation(struct wgpair *p, const struct wgside *to, struct wg_msg_initiation *ret)
{
	struct wg_cookie_maker maker;

	rng_bytes(&p->rng.rng, ret, sizeof(*ret));
	put_le32(ret->type, WG_MSG_INITIATION);
	wg_cookie_maker_init(&maker, to->pub.b);
	wg_cookie_sign(&maker, p->now, (uint8_t *)ret, sizeof(*ret));
}

void flood(struct wgpair *p, struct wgside *to, const struct endpoint *from, int n)
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
void flood_from_everywhere(struct wgpair *p, struct wgside *to)
{
	for (int i = 0; i < 500; i++) {
		struct endpoint from = { ip_addr_v4(198, 18, (uint8_t)(i >> 8), (uint8_t)i), 7, 0 };

		flood(p, to, &from, 1);
	}
}

/* A data message of @from's session, with any counter and plaintext. Return: its length. */
size_t forge_data(struct wgside *from, uint64_t counter, const void *plain, size_t len, uint8_t *ret)
{
	struct wg_keypair *kp = peer_of(from)->current;
	struct wg_aead_job job = { .key = kp->keys.send, .counter = counter, .src = plain, .dst = ret + 16, .len = len };

	put_le32(ret, WG_MSG_DATA);
	put_le32(ret + 4, kp->remote_index);
	put_le64(ret + 8, counter);
	wg_aead_find(NULL)->seal(&job, 1, 0);
	return len + WG_DATA_OVERHEAD;
}

bool at_endpoint(struct wgside *s, const struct endpoint *ep)
{
	return endpoint_equal(&peer_of(s)->path.remote, ep);
}

/* ---- what the wire kept ---- */

void kept_init(struct wgpair *p, struct kept *k, size_t max, int type, bool deliver)
{
	*k = (struct kept){ .msgs = calloc(max, sizeof(*k->msgs)), .max = max, .type = type, .deliver = deliver };
	assert_non_null(k->msgs);
	p->wire = keep;
	p->wire_ctx = k;
}

bool keep(struct wgpair *p, struct wgside *from, uint8_t *msg, size_t *len, void *ctx)
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

void release(struct wgpair *p, struct kept *k, size_t i)
{
	struct wgside *from = k->msgs[i].from;

	wgpair_inject(p, from == &p->a ? &p->b : &p->a, &from->ep, k->msgs[i].b, k->msgs[i].len);
}
