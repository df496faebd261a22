/*
 * test/unit/netstack/tun_test.c - our TCP against the kernel's, through a TUN device in a network namespace of its own.
 *
 * Between the two lies a seeded path with loss, duplicates, reordering and delay. Both sides dial, thousands of times, with
 * bytes in both directions that are checked at the other end; what we send is watched for the rules of the wire. Needs
 * root; skipped with the reason where that is not to be had.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "netstack/net.h"
#include "test/lib/netpair.h"
#include "test/lib/netwrite.h"

#define N_TRANSFERS 2000
#define N_AT_ONCE 24
#define SIZE_MAX_BYTES 100000
#define LIMIT (60 * NSEC_PER_SEC)

struct flying {
	struct flying *next;
	nsec_t at;
	size_t len;
	uint8_t data[1600];
};

struct queue {
	struct flying *first;
};

/* One end of a transfer: a handle of ours, or a socket. */
struct end {
	struct net_tcp *c;
	int fd;
	uint32_t id;
	size_t to_send, sent, got;
	bool is_kernel, connected, shut, eof, failed, wrong, named;
};

struct transfer {
	struct end client, server;
	bool used;
};

static struct world {
	int tun, listener;
	struct rng_seeded rng;
	struct pktpool *pool;
	struct net_if *nif;
	struct net_listener *l;
	struct queue to_us, to_kernel;
	struct wirewatch watch;
	struct transfer t[N_AT_ONCE];
	unsigned n_begun, n_done;
	uint64_t n_bytes, n_bad, n_kernel_bad; /* if the watch finds fault with the kernel, the watch is wrong */
	uint32_t loss_ppm, dup_ppm, late_ppm;
	nsec_t now;
} w;

static nsec_t clock_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (nsec_t)t.tv_sec * NSEC_PER_SEC + (nsec_t)t.tv_nsec;
}

/* ---- the path ---- */

static void fly(struct queue *q, const uint8_t *p, size_t len, bool again)
{
	struct flying **at = &q->first, *f;

	if (rng_chance(&w.rng.rng, w.loss_ppm))
		return;
	f = malloc(sizeof(*f));
	memcpy(f->data, p, len);
	f->len = len;
	f->at = w.now + NSEC_PER_MSEC + (rng_chance(&w.rng.rng, w.late_ppm) ? 2 * NSEC_PER_MSEC : 0);
	while (*at && (*at)->at <= f->at)
		at = &(*at)->next;
	f->next = *at;
	*at = f;
	if (!again && rng_chance(&w.rng.rng, w.dup_ppm))
		fly(q, p, len, true);
}

static struct flying *landed(struct queue *q)
{
	struct flying *f = q->first;

	if (!f || f->at > w.now)
		return NULL;
	q->first = f->next;
	return f;
}

static enum net_output on_output(void *ctx, const struct iovec *iov, int iovcnt, size_t len)
{
	uint8_t p[1600];
	size_t n = 0;
	const char *why;

	for (int i = 0; i < iovcnt; i++) {
		memcpy(p + n, iov[i].iov_base, iov[i].iov_len);
		n += iov[i].iov_len;
	}
	why = wirecheck(p, len, 1420);
	if (!why)
		why = wirewatch_packet(&w.watch, 1, p, len);
	if (why) {
		print_message("wire: %s\n", why);
		w.n_bad++;
	}
	fly(&w.to_kernel, p, len, false);
	return NET_OUTPUT_OK;
}

static void land(void)
{
	struct flying *f;

	while ((f = landed(&w.to_us))) {
		struct pktbuf *pb = pktbuf_alloc(w.pool, NULL);

		if (pb) {
			memcpy(pb->data, f->data, f->len);
			pb->len = (uint16_t)f->len;
			net_if_input(w.nif, &pb, 1);
		}
		free(f);
	}
	while ((f = landed(&w.to_kernel))) {
		assert_int_equal(write(w.tun, f->data, f->len), f->len);
		free(f);
	}
}

static void read_tun(void)
{
	uint8_t p[2048];
	ssize_t n;

	while ((n = read(w.tun, p, sizeof(p))) > 0) {
		if (p[0] >> 4 != 4)
			continue; /* router solicitations */
		w.n_kernel_bad += wirewatch_packet(&w.watch, 0, p, (size_t)n) != NULL;
		fly(&w.to_us, p, (size_t)n, false);
	}
}

/* ---- transfers ---- */

static uint8_t pattern(uint32_t id, bool from_client, size_t i)
{
	return (uint8_t)((id * 7 + from_client * 101 + i * 131 + (i >> 8) * 7) ^ (i >> 16));
}

static size_t size_of(uint32_t id, bool from_client)
{
	uint32_t h = (id * 2 + from_client) * 2654435761u;

	return 4 + (h >> 28 == 0 ? (h >> 4) % SIZE_MAX_BYTES : (h >> 4) % 3000);
}

/* The first four bytes of a client name the transfer. */
static void took(struct transfer *t, bool at_server, const uint8_t *p, size_t len)
{
	struct end *e = at_server ? &t->server : &t->client;

	for (size_t i = 0; i < len; i++, e->got++) {
		if (at_server && e->got < 4) {
			e->id |= (uint32_t)p[i] << (8 * e->got);
			e->named = e->got == 3;
			if (e->named)
				e->to_send = size_of(e->id, false);
			continue;
		}
		e->wrong |= p[i] != pattern(e->id, at_server, e->got);
	}
}

static size_t fill(const struct end *e, bool is_client, uint8_t *buf, size_t size)
{
	size_t n = MIN(size, e->to_send - e->sent);

	for (size_t i = 0; i < n; i++)
		buf[i] = is_client && e->sent + i < 4 ? (uint8_t)(e->id >> (8 * (e->sent + i))) :
							pattern(e->id, is_client, e->sent + i);
	return n;
}

static bool may_send(const struct end *e, bool is_client)
{
	return e->connected && !e->failed && !e->shut && (is_client || e->named);
}

static void pump_ours(struct transfer *t, bool is_client)
{
	struct end *e = is_client ? &t->client : &t->server;
	uint8_t buf[20000];
	size_t n, done;

	while ((n = net_tcp_read(e->c, buf, sizeof(buf))) > 0)
		took(t, !is_client, buf, n);
	e->eof |= net_tcp_at_eof(e->c);
	while (may_send(e, is_client) && e->sent < e->to_send) {
		n = fill(e, is_client, buf, sizeof(buf));
		done = net_write_mixed(e->c, buf, n);
		e->sent += done;
		if (done < n)
			return;
	}
	if (may_send(e, is_client)) {
		net_tcp_shutdown(e->c);
		e->shut = true;
	}
}

static void on_event(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct transfer *t = ctx;
	bool is_client = t->client.c == c;
	struct end *e = is_client ? &t->client : &t->server;

	e->connected |= ev == NET_TCP_CONNECTED;
	e->failed |= ev == NET_TCP_ERROR;
	if (ev == NET_TCP_ERROR)
		print_message("transfer %u: our end: %s\n", e->id, err_text(net_tcp_error(c)));
	else
		pump_ours(t, is_client);
}

static void pump_kernel(struct transfer *t, bool is_client)
{
	struct end *e = is_client ? &t->client : &t->server;
	uint8_t buf[4096];
	ssize_t n;
	int err = 0;
	socklen_t len = sizeof(err);

	if (!e->connected) {
		getsockopt(e->fd, SOL_SOCKET, SO_ERROR, &err, &len);
		e->failed = err != 0;
		e->connected = !err;
	}
	while (!e->eof && !e->failed && (n = read(e->fd, buf, sizeof(buf))) >= 0) {
		e->eof = n == 0;
		took(t, !is_client, buf, (size_t)n);
	}
	e->failed |= !e->eof && errno != EAGAIN;
	while (may_send(e, is_client) && e->sent < e->to_send) {
		n = write(e->fd, buf, fill(e, is_client, buf, sizeof(buf)));
		if (n < 0)
			return;
		e->sent += (size_t)n;
	}
	if (may_send(e, is_client)) {
		shutdown(e->fd, SHUT_WR);
		e->shut = true;
	}
}

/* Its client is known by its port: the kernel's and ours may have the same one at a time. */
static struct transfer *transfer_of_port(uint16_t port, bool is_kernel)
{
	for (int i = 0; i < N_AT_ONCE; i++) {
		struct transfer *t = &w.t[i];
		struct sockaddr_in sa = { 0 };
		socklen_t len = sizeof(sa);
		struct endpoint local = { 0 }, remote;

		if (!t->used || t->client.is_kernel != is_kernel)
			continue;
		if (is_kernel)
			getsockname(t->client.fd, (struct sockaddr *)&sa, &len);
		else
			net_tcp_get_addrs(t->client.c, &local, &remote);
		if (port == (is_kernel ? ntohs(sa.sin_port) : local.port))
			return t;
	}
	return NULL;
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct transfer *t = transfer_of_port(remote->port, true);

	if (!t || t->server.c) {
		net_syn_refuse(syn);
		return;
	}
	assert_int_equal(net_syn_accept(syn, on_event, t, &t->server.c), OK);
}

static void accept_kernel(void)
{
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);
	int fd = accept4(w.listener, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK);
	struct transfer *t = fd < 0 ? NULL : transfer_of_port(ntohs(sa.sin_port), false);

	if (fd < 0)
		return;
	if (!t || t->server.fd >= 0) {
		close(fd);
		return;
	}
	t->server.fd = fd;
	t->server.connected = true;
}

static void begin(struct transfer *t)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(22), .sin_addr.s_addr = inet_addr("10.99.0.2") };
	struct endpoint kernel = { ip_addr_v4(10, 99, 0, 1), 4000, 0 };
	uint32_t id = w.n_begun++;

	*t = (struct transfer){ .used = true };
	t->client = (struct end){ .id = id, .to_send = size_of(id, true), .fd = -1, .is_kernel = id % 2, .named = true };
	t->server = (struct end){ .fd = -1, .is_kernel = !(id % 2) };
	if (t->client.is_kernel) {
		t->client.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		assert_true(connect(t->client.fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno == EINPROGRESS);
	} else {
		assert_int_equal(net_tcp_dial(w.nif, &kernel, on_event, t, &t->client.c), OK);
	}
}

static bool is_over(const struct end *e)
{
	return e->failed || (e->eof && e->shut);
}

static void check_end(const struct transfer *t, const struct end *e, size_t want)
{
	if (e->failed || e->wrong || e->got != want) {
		print_message("transfer %u, %s dialled, end of %s: failed %d wrong %d got %zu of %zu\n", t->client.id,
			      t->client.is_kernel ? "the kernel" : "we", e->is_kernel ? "the kernel" : "ours", e->failed,
			      e->wrong, e->got, want);
		w.n_bad++;
	}
}

static void finish(struct transfer *t)
{
	struct end *ends[] = { &t->client, &t->server };

	check_end(t, &t->client, size_of(t->client.id, false));
	check_end(t, &t->server, size_of(t->client.id, true));
	for (int i = 0; i < 2; i++) {
		w.n_bytes += ends[i]->got;
		if (ends[i]->fd >= 0)
			close(ends[i]->fd);
		net_tcp_close(ends[i]->c);
	}
	t->used = false;
	w.n_done++;
}

/* ---- the loop ---- */

static int timeout_ms(void)
{
	nsec_t at = net_deadline();

	at = nsec_min(at, w.to_us.first ? w.to_us.first->at : NSEC_NEVER);
	at = nsec_min(at, w.to_kernel.first ? w.to_kernel.first->at : NSEC_NEVER);
	return at <= w.now ? 0 : (int)MIN((at - w.now + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC, (nsec_t)100);
}

static void turn(void)
{
	struct pollfd fds[2 + 2 * N_AT_ONCE] = { { w.tun, POLLIN, 0 }, { w.listener, POLLIN, 0 } };
	struct transfer *of[2 + 2 * N_AT_ONCE];
	int n = 2;

	for (int i = 0; i < N_AT_ONCE; i++)
		for (int k = 0; w.t[i].used && k < 2; k++) {
			struct end *e = k ? &w.t[i].server : &w.t[i].client;

			if (e->fd < 0 || is_over(e))
				continue;
			of[n] = &w.t[i];
			fds[n++] = (struct pollfd){ e->fd, (short)((e->eof ? 0 : POLLIN) | (e->shut ? 0 : POLLOUT)), 0 };
			if (e->connected && !may_send(e, !k))
				fds[n - 1].events = POLLIN;
		}
	poll(fds, (nfds_t)n, timeout_ms());
	w.now = clock_now();
	net_set_now(w.now);
	read_tun();
	if (fds[1].revents)
		accept_kernel();
	for (int i = 2; i < n; i++)
		if (fds[i].revents)
			pump_kernel(of[i], of[i]->client.fd == fds[i].fd);
	land();
	net_expire(w.now);
	for (int i = 0; i < N_AT_ONCE; i++) {
		if (w.t[i].used && is_over(&w.t[i].client) && is_over(&w.t[i].server))
			finish(&w.t[i]);
		if (!w.t[i].used && w.n_begun < N_TRANSFERS)
			begin(&w.t[i]);
	}
}

static bool set_up(void)
{
	struct ifreq ifr = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(4000), .sin_addr.s_addr = inet_addr("10.99.0.1") };
	struct net_config cfg = { .rng = &w.rng.rng };
	struct net_if_config icfg = { .n_addrs = 1, .addrs = { { ip_addr_v4(10, 99, 0, 2), 24 } }, .output = on_output,
				      .reset_closed = true };
	int one = 1;

	if (unshare(CLONE_NEWNET) < 0)
		return false;
	w.tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
	strcpy(ifr.ifr_name, "t0");
	if (w.tun < 0 || ioctl(w.tun, TUNSETIFF, &ifr) < 0)
		return false;
	if (system("PATH=$PATH:/usr/sbin:/sbin; ip addr add 10.99.0.1/24 dev t0 && ip link set t0 mtu 1420 up") != 0)
		return false;
	w.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	setsockopt(w.listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(w.listener, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(w.listener, 128) < 0)
		return false;
	rng_seeded_init(&w.rng, 42);
	w.pool = pktpool_new(16384);
	w.now = clock_now();
	cfg.pool = w.pool;
	assert_int_equal(net_init(&cfg, w.now), OK);
	assert_int_equal(net_if_open(&icfg, &w.nif), OK);
	assert_int_equal(net_tcp_listen(w.nif, 22, 2 * N_AT_ONCE, on_syn, NULL, &w.l), OK);
	return true;
}

static void tear_down(void)
{
	struct queue *queues[] = { &w.to_us, &w.to_kernel };

	net_listener_close(w.l);
	net_if_close(w.nif);
	net_fini();
	for (int i = 0; i < 2; i++)
		while (queues[i]->first) {
			struct flying *f = queues[i]->first;

			queues[i]->first = f->next;
			free(f);
		}
	pktpool_free(w.pool);
	wirewatch_fini(&w.watch);
	close(w.listener);
	close(w.tun);
}

static void show_end(const struct end *e, const char *what)
{
	print_message("  %s (%s): %sconnected, sent %zu of %zu%s, got %zu%s%s\n", what, e->is_kernel ? "the kernel" : "ours",
		      e->connected ? "" : "not ", e->sent, e->to_send, e->shut ? " and shut" : "", e->got,
		      e->eof ? " and the end" : "", e->failed ? ", failed" : "");
}

/* What hangs, for people. */
static void show_unfinished(void)
{
	for (int i = 0; i < N_AT_ONCE; i++) {
		if (!w.t[i].used)
			continue;
		print_message("transfer %u of %zu and %zu bytes:\n", w.t[i].client.id, size_of(w.t[i].client.id, true),
			      size_of(w.t[i].client.id, false));
		show_end(&w.t[i].client, "client");
		show_end(&w.t[i].server, "server");
	}
}

/* test/long/tun.sh goes through a grid of them. */
static uint32_t setting(const char *name, uint32_t usual)
{
	const char *text = getenv(name);

	return text ? (uint32_t)strtoul(text, NULL, 10) : usual;
}

static void transfers_with_the_kernel_arrive_whole(void **state)
{
	nsec_t start = clock_now();

	w.loss_ppm = setting("TUN_LOSS_PPM", 10000);
	w.dup_ppm = setting("TUN_DUP_PPM", 5000);
	w.late_ppm = setting("TUN_LATE_PPM", 10000);
	while (w.n_done < N_TRANSFERS && clock_now() - start < LIMIT)
		turn();
	print_message("%u transfers, %llu bytes in %.1f s\n", w.n_done, (unsigned long long)w.n_bytes,
		      (double)(clock_now() - start) / 1e9);
	show_unfinished();
	assert_int_equal(w.n_done, N_TRANSFERS);
	assert_int_equal(w.n_bad, 0);
	assert_int_equal(w.n_kernel_bad, 0);
	tear_down();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(transfers_with_the_kernel_arrive_whole),
	};

	if (!set_up()) {
		printf("needs root, a network namespace and /dev/net/tun\n");
		return 77;
	}
	return RUN_TESTS(tests);
}
