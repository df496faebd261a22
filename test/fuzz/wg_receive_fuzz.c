/*
 * The whole receive path with a live session. The input is a row of datagrams, each behind a two-byte length and an
 * octet: bit 0 to a or b, bit 1 the receiver's true index in place, bit 2 good MACs, bit 3 from a stranger's address,
 * bit 4 sealed as authentic data of the other side, bits 5 to 7 a step of the clock. Whatever comes: no harm, no unauthentic
 * packet inside, and the two can still talk.
 */
#include "base/endian.h"
#include "test/lib/wgpair.h"
#include "wg/device_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TO_B = 1, TRUE_INDEX = 2, GOOD_MACS = 4, STRANGER = 8, SEALED = 16 };

static void fix_up(struct wgpair *p, struct wgside *from, struct wgside *to, unsigned flags, uint8_t *msg, size_t len)
{
	const struct wg_peer *peer = wg_peer_get(to->dev, to->peer);
	size_t at = len > 0 && msg[0] == WG_MSG_RESPONSE ? 8 : 4;

	if (flags & TRUE_INDEX && len >= at + 4 && peer->current)
		put_le32(msg + at, at == 8 ? peer->handshake_index : peer->current->local_index);
	if (flags & GOOD_MACS && (len == 148 || len == 92))
		wg_cookie_sign(&wg_peer_get(from->dev, from->peer)->cookie, p->now, msg, len);
}

static void put_in(struct wgpair *p, unsigned flags, const uint8_t *data, size_t len)
{
	struct wgside *to = flags & TO_B ? &p->b : &p->a, *from = flags & TO_B ? &p->a : &p->b;
	struct endpoint ep = flags & STRANGER ? (struct endpoint){ ip_addr_v4(203, 0, 113, 1), 9, 0 } : from->ep;
	struct wg_keypair *kp = wg_peer_get(from->dev, from->peer)->current;
	uint32_t n_rx = to->n_rx;
	uint8_t *msg = malloc(len + WG_DATA_OVERHEAD);

	ASSERT(msg);
	if (flags & SEALED && kp) {
		struct wg_aead_job job = { .key = kp->keys.send, .counter = kp->send_counter, .src = data, .dst = msg + 16,
					   .len = len };

		put_le32(msg, WG_MSG_DATA);
		put_le32(msg + 4, kp->remote_index);
		put_le64(msg + 8, kp->send_counter++);
		wg_aead_find(NULL)->seal(&job, 1, 0);
		wgpair_inject(p, to, &ep, msg, len + WG_DATA_OVERHEAD);
	} else {
		memcpy(msg, data, len);
		fix_up(p, from, to, flags, msg, len);
		wgpair_inject(p, to, &ep, msg, len);
		ASSERT(to->n_rx == n_rx);
	}
	ASSERT(to->n_rx == n_rx || to->last_len <= len);
	free(msg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wgpair p;
	size_t off = 0;

	wgpair_init(&p, 1);
	wgpair_connect(&p);
	while (size - off >= 3) {
		size_t len = get_be16(data + off);
		unsigned flags = data[off + 2];

		off += 3;
		len = MIN(len, size - off);
		put_in(&p, flags, data + off, len);
		off += len;
		if (flags >> 5)
			wgpair_run(&p, NSEC_PER_SEC << (flags >> 5));
		wgpair_pump(&p);
	}
	/* A stranger may have been followed only by what was authentic: put it right and talk. */
	wg_peer_set_endpoint(p.a.dev, p.a.peer, &p.b.ep, p.now);
	wg_peer_set_endpoint(p.b.dev, p.b.peer, &p.a.ep, p.now);
	p.b.n_rx = 0;
	wgpair_send(&p, &p.a, 84, NULL);
	wgpair_run(&p, 20 * NSEC_PER_SEC);
	ASSERT(p.b.n_rx > 0 && p.b.last_len == 84);
	wgpair_fini(&p);
	return 0;
}
