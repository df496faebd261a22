/*
 * wg/send.c - from inner packets to runs of sealed datagrams.
 *
 * A packet is gathered once, straight into the run that will be given to the socket, behind the 16 bytes of its
 * header; the run is sealed in place as one batch when it is pulled. A run takes packets of one session, all of
 * the size of its first; a shorter one ends it. Counters are given out when a packet is appended, so a run holds
 * consecutive ones.
 *
 * A long run may be lent to another thread to be sealed (wg.h). What that thread reads of it stays as it is until the run is back:
 * bytes, key, counter, sizes. All else is ours meanwhile; when its peer goes the run leaves the queue and is freed on its return.
 *
 * Handshake messages are runs of one, and no limit on waiting bytes stops them: there is at most one in 5 s for each peer, and
 * one answer for each datagram of a batch. While the socket takes nothing, strangers could ask for more and more answers: they
 * have a number.
 */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "wg/device_internal.h"

#define RUN_SMALL 2048
#define N_FREE_RUNS_MAX 32
#define SMALL 128 /* an ACK, a SYN, a reset: nothing sends a reset again */
#define SMALL_EXTRA (8u << 10)
#define N_CONTROL_MAX 8192 /* handshake messages that wait for the socket: 20 MiB, whatever their size */

/* ---- runs ---- */

static struct wg_run *run_new(struct wg_device *dev)
{
	struct list *free_run = list_first(&dev->free_runs);
	struct wg_run *run;

	if (free_run) {
		list_del(free_run);
		dev->n_free_runs--;
		return container_of(free_run, struct wg_run, link);
	}
	run = calloc(1, sizeof(*run));
	if (!run)
		return NULL;
	list_init(&run->link);
	list_init(&run->to_lend);
	run->buf = malloc(RUN_SMALL);
	run->cap = RUN_SMALL;
	if (!run->buf) {
		free(run);
		return NULL;
	}
	return run;
}

static void run_free(struct wg_device *dev, struct wg_run *run)
{
	uint8_t *buf = run->buf;
	size_t cap = run->cap;

	list_del(&run->link);
	list_del(&run->to_lend);
	dev->n_control -= !run->is_data;
	sodium_memzero(run->key, sizeof(run->key));
	if (dev->n_free_runs >= N_FREE_RUNS_MAX) {
		free(buf);
		free(run);
		return;
	}
	*run = (struct wg_run){ .buf = buf, .cap = cap };
	list_init(&run->link);
	list_init(&run->to_lend);
	list_add(&dev->free_runs, &run->link);
	dev->n_free_runs++;
}

static bool run_reserve(struct wg_run *run, size_t len)
{
	size_t want = len <= RUN_SMALL ? RUN_SMALL : WG_RUN_BYTES;
	uint8_t *bigger;

	if (len <= run->cap)
		return true;
	bigger = realloc(run->buf, want);
	if (!bigger)
		return false;
	run->buf = bigger;
	run->cap = want;
	return true;
}

static struct wg_run *run_start(struct wg_device *dev, struct wg_peer *peer, const struct path_addr *path,
				size_t seg_len)
{
	struct wg_run *run = run_new(dev);

	if (!run)
		return NULL;
	run->peer = peer;
	run->peer_id = peer ? peer->id : 0;
	run->path = *path;
	run->seg_len = (uint16_t)seg_len;
	list_add_tail(&dev->runs, &run->link);
	return run;
}

void wg_send_message(struct wg_device *dev, struct wg_peer *peer, const struct path_addr *path, const void *msg,
		     size_t len)
{
	struct wg_run *run;

	run = dev->n_control < N_CONTROL_MAX ? run_start(dev, peer, path, len) : NULL;
	if (!run)
		return;
	dev->n_control++;
	memcpy(run->buf, msg, len);
	run->len = len;
	run->n_segs = 1;
	run->sealed = true;
	dev->tx_bytes += len;
	if (peer)
		peer->tx_bytes += len;
}

/* ---- data ---- */

static void close_open_run(struct wg_peer *peer)
{
	struct wg_run *run = peer->open_run;

	peer->open_run = NULL;
	if (run && run->len >= WG_LEND_MIN)
		list_add_tail(&peer->dev->to_lend, &run->to_lend);
}

/* Field by field: what lies between them is not ours to compare. */
static bool same_path(const struct path_addr *a, const struct path_addr *b)
{
	return endpoint_equal(&a->remote, &b->remote) && ip_addr_equal(&a->local, &b->local) && a->ifindex == b->ifindex;
}

/* The run that takes a datagram of @seg_len of this session, opened if need be. */
static struct wg_run *run_for(struct wg_peer *peer, struct wg_keypair *kp, size_t seg_len)
{
	struct wg_run *run = peer->open_run;

	/* The remote chooses its index, and may give two sessions the same: the counter must go on too. */
	if (run && (run->remote_index != kp->remote_index || run->first_counter + run->n_segs != kp->send_counter ||
		    seg_len > run->seg_len || run->n_segs == WG_RUN_SEGS || run->len + seg_len > WG_RUN_BYTES ||
		    !same_path(&run->path, &peer->path)))
		run = NULL;
	if (!run) {
		close_open_run(peer);
		run = run_start(peer->dev, peer, &peer->path, seg_len);
		if (!run)
			return NULL;
		run->is_data = true;
		run->remote_index = kp->remote_index;
		run->first_counter = kp->send_counter;
		memcpy(run->key, kp->keys.send, KEY_LEN);
	}
	return run_reserve(run, run->len + seg_len) ? run : NULL;
}

static void gather(uint8_t *to, const struct iovec *iov, int iovcnt)
{
	for (int i = 0; i < iovcnt; i++) {
		memcpy(to, iov[i].iov_base, iov[i].iov_len);
		to += iov[i].iov_len;
	}
}

static size_t padded_len(const struct wg_device *dev, size_t len)
{
	size_t padded = (len + WG_PADDING - 1) & ~(size_t)(WG_PADDING - 1);

	return len > dev->cfg.mtu ? len : MIN(padded, (size_t)dev->cfg.mtu);
}

static void append(struct wg_run *run, struct wg_keypair *kp, const struct iovec *iov, int iovcnt, size_t len,
		   size_t padded)
{
	uint8_t *p = run->buf + run->len;
	size_t seg_len = padded + WG_DATA_OVERHEAD;

	memset(p, 0, 4);
	p[0] = WG_MSG_DATA;
	put_le32(p + 4, kp->remote_index);
	put_le64(p + 8, kp->send_counter++);
	gather(p + sizeof(struct wg_msg_data), iov, iovcnt);
	memset(p + sizeof(struct wg_msg_data) + len, 0, padded - len);
	run->len += seg_len;
	run->n_segs++;
	run->peer->dev->tx_bytes += seg_len;
	run->peer->tx_bytes += seg_len;
	run->peer->open_run = run;
	/* A shorter datagram can only be the last of a run. */
	if (seg_len < run->seg_len)
		close_open_run(run->peer);
}

/* The rules for starting a handshake while the session still works (6.2). */
static void keep_key_fresh(struct wg_peer *peer, nsec_t now)
{
	const struct wg_keypair *kp = peer->current;

	if (kp->send_counter > WG_REKEY_AFTER_MESSAGES ||
	    (kp->initiator && now - kp->born >= wg_scaled(peer->dev, WG_REKEY_AFTER)))
		wg_handshake_initiate(peer, now, false);
}

static bool send_now(struct wg_peer *peer, nsec_t now, const struct iovec *iov, int iovcnt, size_t len)
{
	size_t padded = padded_len(peer->dev, len);
	struct wg_keypair *kp = peer->current;
	struct wg_run *run;

	if (!wg_session_usable(kp, now) || !endpoint_is_set(&peer->path.remote))
		return false;
	run = run_for(peer, kp, padded + WG_DATA_OVERHEAD);
	if (!run)
		return false;
	append(run, kp, iov, iovcnt, len, padded);
	wg_timers_authenticated_sent(peer, now);
	if (len > 0)
		wg_timers_data_sent(peer, now);
	keep_key_fresh(peer, now);
	return true;
}

void wg_send_keepalive(struct wg_peer *peer, nsec_t now)
{
	if (peer->n_staged > 0)
		wg_send_staged(peer, now);
	else if (!send_now(peer, now, NULL, 0, 0))
		wg_handshake_initiate(peer, now, false);
}

/* ---- staging ---- */

static void staged_free(struct wg_peer *peer, struct wg_staged *s)
{
	list_del(&s->link);
	peer->n_staged--;
	sodium_memzero(s->data, s->len);
	free(s);
}

static bool stage(struct wg_peer *peer, const struct iovec *iov, int iovcnt, size_t len)
{
	struct wg_staged *s = malloc(sizeof(*s) + len);

	if (!s)
		return false;
	s->len = len;
	gather(s->data, iov, iovcnt);
	list_add_tail(&peer->staged, &s->link);
	if (++peer->n_staged > WG_STAGED_MAX)
		staged_free(peer, container_of(list_first(&peer->staged), struct wg_staged, link));
	return true;
}

void wg_send_purge_staged(struct wg_peer *peer)
{
	list_for_each_safe(it, &peer->staged)
		staged_free(peer, container_of(it, struct wg_staged, link));
}

void wg_send_staged(struct wg_peer *peer, nsec_t now)
{
	list_for_each_safe(it, &peer->staged) {
		struct wg_staged *s = container_of(it, struct wg_staged, link);
		struct iovec iov = { s->data, s->len };

		if (!send_now(peer, now, &iov, 1, s->len)) {
			wg_handshake_initiate(peer, now, false);
			return;
		}
		staged_free(peer, s);
	}
}

/* ---- the interface's output ---- */

/* Destination of an inner packet; false when it is not a packet. */
static bool read_destination(const struct iovec *iov, int iovcnt, size_t len, struct ip_addr *ret)
{
	uint8_t head[40];
	size_t have = 0;

	for (int i = 0; i < iovcnt && have < sizeof(head); i++) {
		size_t n = MIN(iov[i].iov_len, sizeof(head) - have);

		memcpy(head + have, iov[i].iov_base, n);
		have += n;
	}
	*ret = (struct ip_addr){ 0 };
	if (len >= 20 && have >= 20 && head[0] >> 4 == 4) {
		ret->family = IP_V4;
		memcpy(ret->b, head + 16, 4);
	} else if (len >= 40 && have >= 40 && head[0] >> 4 == 6) {
		ret->family = IP_V6;
		memcpy(ret->b, head + 24, 16);
	}
	return ret->family != IP_NONE;
}

enum wg_send wg_device_send(struct wg_device *dev, nsec_t now, const struct iovec *iov, int iovcnt, size_t len)
{
	struct ip_addr dst;
	struct wg_peer *peer;

	dev->clock = now;
	if (len > dev->cfg.mtu || !read_destination(iov, iovcnt, len, &dst))
		return WG_SEND_NO_ROUTE;
	peer = wg_allowedips_lookup(&dev->allowed, &dst);
	if (!peer || peer->low_order)
		return WG_SEND_NO_ROUTE;
	if (!endpoint_is_set(&peer->path.remote))
		return WG_SEND_NO_ENDPOINT;
	if (dev->tx_bytes - dev->lent_bytes >= dev->cfg.tx_bytes_max + (len <= SMALL ? SMALL_EXTRA : 0))
		return WG_SEND_BLOCKED;
	/* Earlier packets first: what is staged keeps its place. */
	if (peer->n_staged == 0 && send_now(peer, now, iov, iovcnt, len))
		return WG_SEND_OK;
	if (!stage(peer, iov, iovcnt, len))
		return WG_SEND_BLOCKED;
	if (wg_session_usable(peer->current, now))
		wg_send_staged(peer, now);
	else
		wg_handshake_initiate(peer, now, false);
	return peer->n_staged > 0 ? WG_SEND_STAGED : WG_SEND_OK;
}

/* ---- sealing ---- */

static void seal(const struct wg_aead *aead, struct wg_run *run, unsigned lane)
{
	struct wg_aead_job jobs[WG_RUN_SEGS];

	for (size_t i = 0, off = 0; i < run->n_segs; i++, off += run->seg_len) {
		size_t seg = MIN((size_t)run->seg_len, run->len - off);
		uint8_t *plain = run->buf + off + sizeof(struct wg_msg_data);

		jobs[i] = (struct wg_aead_job){ .key = run->key,
						.counter = run->first_counter + i,
						.src = plain,
						.dst = plain,
						.len = seg - WG_DATA_OVERHEAD };
	}
	aead->seal(jobs, run->n_segs, lane);
}

static void set_sealed(struct wg_run *run)
{
	sodium_memzero(run->key, sizeof(run->key));
	run->sealed = true;
}

static void seal_here(struct wg_device *dev, struct wg_run *run)
{
	if (run->peer && run->peer->open_run == run)
		run->peer->open_run = NULL;
	list_del(&run->to_lend);
	seal(dev->aead, run, 0);
	set_sealed(run);
}

/* ---- lent to other threads ---- */

static void close_long_runs(struct wg_device *dev)
{
	list_for_each(it, &dev->runs) {
		struct wg_run *run = container_of(it, struct wg_run, link);

		if (run->peer && run->peer->open_run == run && run->len >= WG_LEND_MIN)
			close_open_run(run->peer);
	}
}

struct wg_run *wg_device_lend(struct wg_device *dev, bool all)
{
	struct list *first;
	struct wg_run *run;

	if (all)
		close_long_runs(dev);
	first = list_first(&dev->to_lend);
	if (!first)
		return NULL;
	list_del(first);
	run = container_of(first, struct wg_run, to_lend);
	run->lent = true;
	run->aead = dev->aead;
	dev->n_lent++;
	dev->lent_bytes += run->len;
	return run;
}

void wg_run_seal(struct wg_run *run, unsigned lane)
{
	seal(run->aead, run, lane);
}

void wg_device_give_back(struct wg_device *dev, struct wg_run *run)
{
	ASSERT(run->lent && dev->n_lent > 0);
	run->lent = false;
	dev->n_lent--;
	dev->lent_bytes -= run->len;
	set_sealed(run);
	/* Its peer was removed. */
	if (list_empty(&run->link))
		run_free(dev, run);
}

struct wg_run *wg_device_front_lent(const struct wg_device *dev)
{
	struct wg_run *run = list_empty(&dev->runs) ? NULL : container_of(dev->runs.next, struct wg_run, link);

	return run && run->lent ? run : NULL;
}

/* ---- to the socket ---- */

bool wg_device_tx_is_full(const struct wg_device *dev)
{
	const struct wg_run *run = list_empty(&dev->runs) ? NULL : container_of(dev->runs.next, struct wg_run, link);

	return run && run->is_data && !(run->peer && run->peer->open_run == run);
}

bool wg_device_next_tx(struct wg_device *dev, nsec_t now, struct wg_tx *ret)
{
	struct list *first = list_first(&dev->runs);
	struct wg_run *run;

	if (!first)
		return false;
	run = container_of(first, struct wg_run, link);
	if (run->lent)
		return false;
	if (!run->sealed)
		seal_here(dev, run);
	*ret = (struct wg_tx){ .p = run->buf,
			       .len = run->len,
			       .seg_len = run->seg_len,
			       .n_segs = run->n_segs,
			       .path = run->path,
			       .peer = run->peer_id };
	return true;
}

void wg_device_tx_done(struct wg_device *dev)
{
	struct list *first = list_first(&dev->runs);
	struct wg_run *run;

	ASSERT(first);
	run = container_of(first, struct wg_run, link);
	ASSERT(run->sealed);
	dev->tx_bytes -= run->len;
	run_free(dev, run);
}

size_t wg_device_tx_bytes(const struct wg_device *dev)
{
	return dev->tx_bytes;
}

void wg_send_forget_peer(struct wg_peer *peer)
{
	list_for_each_safe(it, &peer->dev->runs) {
		struct wg_run *run = container_of(it, struct wg_run, link);

		if (run->peer != peer)
			continue;
		peer->dev->tx_bytes -= run->len;
		/* Somebody is at work on it: give_back() frees it. */
		if (run->lent) {
			list_del(&run->link);
			run->peer = NULL;
		} else {
			run_free(peer->dev, run);
		}
	}
	peer->open_run = NULL;
	wg_send_purge_staged(peer);
}

void wg_send_fini(struct wg_device *dev)
{
	ASSERT(dev->n_lent == 0);
	list_for_each_safe(it, &dev->runs)
		run_free(dev, container_of(it, struct wg_run, link));
	dev->tx_bytes = 0;
	list_for_each_safe(it2, &dev->free_runs) {
		struct wg_run *run = container_of(it2, struct wg_run, link);

		list_del(it2);
		free(run->buf);
		free(run);
	}
	dev->n_free_runs = 0;
}
