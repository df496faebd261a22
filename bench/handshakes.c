/*
 * bench/handshakes.c - how many handshakes a second one core of a responder makes that knows many peers.
 *
 *	handshakes [PEERS [ROUNDS]]
 *
 * The responder is one device of wg/ with PEERS peers (1,000 without the argument); so many initiators shake hands with it, one after
 * another, ROUNDS times each. Counted is the responder's processor time alone: the initiation in, its response out, and the first
 * packet of data, which confirms it. No sockets: the two system calls of a handshake are some 3 us more. One JSON
 * object on standard output.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "test/lib/testing.h"
#include "wg/wg.h"

#define N_PEERS_MAX 16384

struct peer {
	struct wg_device *dev;
	struct wg_private_key priv;
	struct wg_public_key pub;
	wg_peer_id responder;
	struct path_addr path;
};

static struct rng_seeded rng;
static struct pktpool *pool;
static struct wg_device *responder;
static nsec_t now = 1000 * NSEC_PER_SEC;
static uint64_t wall = 1700000000 * NSEC_PER_SEC;
static double spent;
static const struct path_addr to_responder = { .remote = { { .family = IP_V4, .b = { 192, 0, 2, 1 } }, 51820, 0 } };

static double cpu(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "handshakes: %s\n", what);
	exit(1);
}

static void drain(struct wg_device *dev)
{
	struct wg_event ev;
	struct wg_rx rx;

	while (wg_device_next_rx(dev, &rx))
		pktbuf_free(rx.pb);
	while (wg_device_next_event(dev, &ev))
		;
}

static size_t take(struct wg_device *dev, uint8_t *ret)
{
	struct wg_tx tx;
	size_t len;

	if (!wg_device_next_tx(dev, now, &tx))
		return 0;
	len = MIN(tx.len, (size_t)2048);
	memcpy(ret, tx.p, len);
	wg_device_tx_done(dev);
	return len;
}

static void feed(struct wg_device *dev, const uint8_t *p, size_t len, const struct path_addr *from)
{
	struct wg_datagram d = { p, len, from };

	wg_device_input(dev, now, &d, 1);
	drain(dev);
}

static struct wg_device *new_device(const struct wg_private_key *priv)
{
	struct wg_config cfg = { .pool = pool, .rng = &rng.rng };
	struct wg_device *dev = wg_device_new(&cfg, now, wall);

	must(dev != NULL, "out of memory");
	wg_device_set_private(dev, priv, now);
	return dev;
}

static void introduce(struct peer *p, uint32_t n, const struct wg_public_key *pub)
{
	struct ip_prefix inner = { { IP_V4, { 10, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n } }, 32 };
	struct ip_prefix all = { { IP_V4, { 0 } }, 0 };
	wg_peer_id id;

	wg_generate_private(&rng.rng, &p->priv);
	wg_public_from_private(&p->priv, &p->pub);
	p->path = (struct path_addr){ .remote = { { IP_V4, { 198, 18, (uint8_t)(n >> 8), (uint8_t)n } }, 51820, 0 } };
	p->dev = new_device(&p->priv);
	must(wg_peer_add(p->dev, pub, now, &id) == OK && wg_peer_allow(p->dev, id, &all) == OK, "peer");
	wg_peer_set_endpoint(p->dev, id, &to_responder.remote, now);
	p->responder = id;
	must(wg_peer_add(responder, &p->pub, now, &id) == OK && wg_peer_allow(responder, id, &inner) == OK, "peer");
}

static void shake_hands(struct peer *p)
{
	static uint8_t initiation[2048], response[2048], data[2048];
	size_t len;
	double from;

	wg_device_set_wall(p->dev, now, wall);
	wg_peer_rehandshake(p->dev, p->responder, now);
	len = take(p->dev, initiation);
	must(len == 148 && initiation[0] == 1, "no initiation");
	from = cpu();
	feed(responder, initiation, len, &p->path);
	len = take(responder, response);
	spent += cpu() - from;
	must(len == 92 && response[0] == 2, "no response");
	feed(p->dev, response, len, &to_responder);
	len = take(p->dev, data);
	must(len >= 32 && data[0] == 4, "no confirmation");
	from = cpu();
	feed(responder, data, len, &p->path);
	spent += cpu() - from;
}

int main(int argc, char **argv)
{
	uint32_t n = argc > 1 ? (uint32_t)atoi(argv[1]) : 1000, rounds = argc > 2 ? (uint32_t)atoi(argv[2]) : 5;
	static struct peer peers[N_PEERS_MAX];
	struct wg_private_key priv;
	struct wg_public_key pub;

	if (n < 1 || n > N_PEERS_MAX || rounds < 1)
		return 2;
	rng_seeded_init(&rng, 1);
	pool = pktpool_new(4096);
	wg_generate_private(&rng.rng, &priv);
	wg_public_from_private(&priv, &pub);
	responder = new_device(&priv);
	for (uint32_t i = 0; i < n; i++)
		introduce(&peers[i], i, &pub);
	for (uint32_t r = 0; r < rounds; r++)
		for (uint32_t i = 0; i < n; i++) {
			/* Slow enough that no limit for a loaded responder acts. */
			now += 10 * NSEC_PER_MSEC;
			wall += 10 * NSEC_PER_MSEC;
			shake_hands(&peers[i]);
		}
	printf("{\"peers\":%u,\"handshakes\":%u,\"us\":%.2f,\"per_second\":%.0f}\n", n, n * rounds,
	       spent * 1e6 / (n * rounds), n * rounds / spent);
	return 0;
}
