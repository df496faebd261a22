/*
 * test/sim/plant.c - deliberate defects: for each rule one that breaks it, so that a rule which finds nothing is known to be
 * able to.
 *
 * Most stand in for a defective node: a datagram or packet is altered, or one more is invented, at the point where the rules
 * look. Those about the ends of connections are in load.c, where the ends are.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/endian.h"
#include "test/sim/sim.h"
#include "wg/messages.h"

static bool is(const uint8_t *p, enum wg_message_type type)
{
	return wg_type_is(p, type);
}

/* ---- datagrams ---- */

static void alter_data(struct sim *s, struct node *from, uint8_t *p, size_t *len)
{
	size_t inner = *len - WG_DATA_OVERHEAD;

	if (inner >= 32 && plant_once(s, RULE_PLAINTEXT))
		memcpy(p + WG_DATA_OVERHEAD, "PLAINTEXT-MARKER", 15 + 1);
	else if (plant_once(s, RULE_NO_KEY))
		p[4] ^= 1;
	else if (plant_once(s, RULE_LONG))
		*len = WG_DATA_OVERHEAD + from->mtu + 16;
	else if (inner >= 16 && plant_once(s, RULE_PADDING))
		*len -= 3;
}

static void alter_handshake(struct sim *s, uint8_t *p, size_t *len)
{
	if (is(p, WG_MSG_INITIATION) && plant_once(s, RULE_INIT_OPEN))
		p[50] ^= 1;
	if (!is(p, WG_MSG_RESPONSE))
		return;
	if (plant_once(s, RULE_RESPONSE_UNASKED))
		p[8] ^= 1;
	else if (plant_once(s, RULE_INDEX))
		memcpy(p + 4, p + 8, 4);
	else if (plant_once(s, RULE_COOKIE)) {
		p[0] = WG_MSG_COOKIE;
		*len = sizeof(struct wg_msg_cookie);
	}
}

void plant_datagram(struct sim *s, struct node *from, uint8_t *p, size_t *len, struct endpoint *dst)
{
	if (LIKELY(s->plant == RULE_NONE))
		return;
	if (plant_once(s, RULE_SHAPE))
		p[1] = 1;
	else if (plant_once(s, RULE_NOBODY))
		dst->port++;
	else if (is(p, WG_MSG_DATA) && plant_once(s, RULE_ROAM))
		*dst = s->stranger;
	else if (is(p, WG_MSG_DATA) && s->n_nodes > 2 && from->id == 0 && plant_once(s, RULE_ADDRESSEE))
		*dst = s->nodes[endpoint_equal(dst, &s->nodes[1].ep) ? 2 : 1].ep;
	if (is(p, WG_MSG_DATA))
		alter_data(s, from, p, len);
	else
		alter_handshake(s, p, len);
}

/* The first data message of a session that has just been answered, by either side, too early. */
static void invent_data(struct sim *s, struct node *from, int to, const struct endpoint *dst, const uint8_t *response)
{
	uint8_t msg[WG_DATA_OVERHEAD] = { WG_MSG_DATA };

	if (plant_is(s, RULE_CONFIRM)) {
		memcpy(msg + 4, response + 8, 4);
		path_check(s, from, to, dst, msg, sizeof(msg));
	} else if (plant_is(s, RULE_EARLY) && to >= 0) {
		memcpy(msg + 4, response + 4, 4);
		path_check(s, &s->nodes[to], from->id, &from->ep, msg, sizeof(msg));
	}
}

static struct {
	struct node *from;
	int to;
	struct endpoint dst;
	uint8_t msg[WG_DATA_OVERHEAD];
} kept;

static void send_kept(struct sim *s, uint64_t arg)
{
	path_check(s, kept.from, kept.to, &kept.dst, kept.msg, sizeof(kept.msg));
}

/* A keepalive with a higher counter, long after its key should have been given up. */
static void keep(struct sim *s, struct node *from, int to, const struct endpoint *dst, const uint8_t *p)
{
	if (s->now < s->faults_end || !plant_once(s, RULE_EXPIRED))
		return;
	kept.from = from;
	kept.to = to;
	kept.dst = *dst;
	memcpy(kept.msg, p, sizeof(struct wg_msg_data));
	put_le64(kept.msg + 8, get_le64(p + 8) + 100000);
	sim_at(s, s->now + 186 * NSEC_PER_SEC, send_kept, 0);
}

/* As if the peer had got another endpoint, which lets a handshake under way begin anew. */
static void hurry(struct sim *s, uint64_t node)
{
	struct node *n = &s->nodes[node], *before = sim_enter(n);
	wg_peer_id id = wg_peer_next(tunnel_device(n->t), 0);
	struct wg_peer_info info;

	if (wg_peer_get_info(tunnel_device(n->t), id, s->now, &info))
		wg_peer_set_endpoint(tunnel_device(n->t), id, &info.endpoint, s->now);
	tunnel_kick(n->t);
	sim_leave(before);
}

void plant_after(struct sim *s, struct node *from, int to, const struct endpoint *dst, const uint8_t *p, size_t len)
{
	if (LIKELY(s->plant == RULE_NONE))
		return;
	if ((is(p, WG_MSG_DATA) && plant_once(s, RULE_NONCE)) || (is(p, WG_MSG_RESPONSE) && plant_once(s, RULE_RESPONSE_TWICE)) ||
	    (is(p, WG_MSG_INITIATION) && plant_once(s, RULE_INIT_TIME)))
		path_check(s, from, to, dst, p, len);
	if (is(p, WG_MSG_RESPONSE))
		invent_data(s, from, to, dst, p);
	if (is(p, WG_MSG_DATA))
		keep(s, from, to, dst, p);
	if (is(p, WG_MSG_INITIATION) && from->id == 1 && s->now > START && s->n_nodes > 2 && !s->nodes[2].group && plant_once(s, RULE_INIT_KEY))
		path_check(s, &s->nodes[2], to, dst, p, len);
	if (is(p, WG_MSG_INITIATION) && plant_once(s, RULE_INIT_RATE))
		sim_at(s, s->now, hurry, (uint64_t)from->id);
}

bool plant_loses(const struct sim *s, const struct node *from)
{
	return plant_is(s, RULE_BACK) && from->incarnation > 1 && s->now - from->started_at < 4 * NSEC_PER_SEC;
}

/* ---- inner packets ---- */

static uint16_t slow_sum(const uint8_t *p, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void set_checksum(uint8_t *p, size_t len)
{
	bool v6 = p[0] >> 4 == 6;
	size_t head = v6 ? 40 : 20;
	uint8_t *t = p + head;
	uint16_t pseudo = slow_sum(p + (v6 ? 8 : 12), v6 ? 32 : 8, 0);

	put_be16(t + 16, 0);
	put_be16(t + 16, slow_sum(t, len - head, (uint32_t)(len - head) + 6 + (uint16_t)~pseudo));
}

/* A copy of the segment with other numbers. */
static enum rule resend(struct sim *s, struct node *n, const uint8_t *p, size_t len, int32_t seq, int32_t ack, int wnd,
			bool other_data)
{
	uint8_t copy[2048];
	uint8_t *t = copy + (p[0] >> 4 == 6 ? 40 : 20);

	memcpy(copy, p, len);
	put_be32(t + 4, get_be32(t + 4) + (uint32_t)seq);
	put_be32(t + 8, get_be32(t + 8) + (uint32_t)ack);
	put_be16(t + 14, (uint16_t)(get_be16(t + 14) / wnd));
	if (other_data)
		copy[len - 1] ^= 1;
	set_checksum(copy, len);
	return inner_sent(&s->inner, n->group, copy, len, n->mtu);
}

void plant_inner_out(struct sim *s, struct node *n, const uint8_t *p, size_t len)
{
	bool v6 = p[0] >> 4 == 6;
	const uint8_t *t = p + (v6 ? 40 : 20);
	uint8_t flags;
	size_t data;

	if (LIKELY(s->plant == RULE_NONE) || (v6 ? p[6] : p[9]) != 6)
		return;
	flags = t[13];
	data = (size_t)(p + len - t) - (size_t)(t[12] >> 4) * 4;
	if (plant_once(s, RULE_PACKET))
		sim_check(s, inner_sent(&s->inner, n->group, p, len - 1, n->mtu));
	else if ((flags & 2) && !(flags & 16) && plant_once(s, RULE_SYN))
		sim_check(s, resend(s, n, p, len, 1, 0, 1, false));
	else if ((flags & 1) && !(flags & 4) && plant_once(s, RULE_AFTER_FIN))
		sim_check(s, resend(s, n, p, len, 1, 0, 1, false));
	else if (data > 0 && plant_once(s, RULE_RESENT))
		sim_check(s, resend(s, n, p, len, 0, 0, 1, true));
	else if ((flags & 0x16) == 0x10 && plant_is(s, RULE_ACK_BACK))
		sim_check(s, resend(s, n, p, len, 0, -1, 1, false));
	else if ((flags & 0x16) == 0x10 && plant_is(s, RULE_ACK_AHEAD))
		sim_check(s, resend(s, n, p, len, 0, 100000, 1, false));
	else if ((flags & 0x16) == 0x10 && plant_is(s, RULE_SHRUNK))
		sim_check(s, resend(s, n, p, len, 0, 0, 2, false));
}

static bool set_mss(uint8_t *t, uint16_t mss)
{
	size_t n = (size_t)(t[12] >> 4) * 4;

	for (size_t i = 20; i + 4 <= n; i++)
		if (t[i] == 2 && t[i + 1] == 4) {
			put_be16(t + i + 2, mss);
			return true;
		}
	return false;
}

bool plant_small_mss(struct sim *s, uint8_t *p, size_t len)
{
	bool v6 = p[0] >> 4 == 6;
	uint8_t *t = p + (v6 ? 40 : 20);

	if (LIKELY(!plant_is(s, RULE_MSS)) || (v6 ? p[6] : p[9]) != 6 || !(t[13] & 2) || !set_mss(t, 600))
		return false;
	set_checksum(p, len);
	return true;
}

void plant_inner_in(struct sim *s, uint8_t *p, size_t len)
{
	bool v6 = p[0] >> 4 == 6;
	uint8_t *t = p + (v6 ? 40 : 20);

	if (LIKELY(s->plant == RULE_NONE) || (v6 ? p[6] : p[9]) != 6)
		return;
	if (plant_is(s, RULE_MSS) && (t[13] & 2))
		set_mss(t, 1460);
	if (plant_is(s, RULE_WINDOW) && !(t[13] & 2))
		put_be16(t + 14, 0xffff);
}

/* ---- the end ---- */

static void ignore_tcp(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
}

void plant_leak(struct sim *s)
{
	struct endpoint to = { s->nodes[1].inner4, 1, 0 };
	struct net_tcp *c;
	wg_peer_id peer = wg_peer_next(tunnel_device(s->nodes[1].t), 0);

	if (plant_once(s, RULE_LEAK_CONN) && net_tcp_dial(tunnel_if(s->nodes[0].t), &to, ignore_tcp, NULL, &c) != OK)
		abort();
	if (plant_once(s, RULE_LEAK_BUFFER) && !pktbuf_alloc(sim_pool, NULL))
		abort();
	if (plant_once(s, RULE_LEAK_QUEUE))
		wg_peer_send_keepalive(tunnel_device(s->nodes[1].t), peer, s->now);
	if (plant_once(s, RULE_LEAK_MEMORY) && !malloc(1))
		abort();
	if (plant_is(s, RULE_DETERMINISM)) {
		pid_t pid = getpid();

		sim_hash(s, &pid, sizeof(pid));
	}
}
