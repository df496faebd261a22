/*
 * test/sim/os.c - os/ for tunnel/ in the simulator: the same functions, on virtual time.
 *
 * A loop belongs to a node; which node's code runs is known in sim.current, because some functions have no loop
 * argument. A node that crashes keeps running to its end here, but neither its datagrams nor its files leave it. The
 * functions at the end stand between tunnel/ and the parts below it (ld --wrap) and look at each inner packet.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "os/cores.h"
#include "os/crew.h"
#include "os/file.h"
#include "os/proc.h"
#include "os/task.h"
#include "test/sim/sim.h"

struct pktpool *sim_pool;

/* ---- clocks, randomness ---- */

nsec_t os_loop_now(const struct os_loop *loop)
{
	return sim.now;
}

nsec_t os_now(void)
{
	return sim.now;
}

uint64_t os_wall_now(void)
{
	ASSERT(sim.current);
	return WALL_START + sim.now - START + (uint64_t)sim.current->wall_jump;
}

struct rng *os_rng(void)
{
	return &sim.dice.rng;
}

struct node *sim_enter(struct node *n)
{
	struct node *before = sim.current;

	sim.current = n;
	return before;
}

void sim_leave(struct node *before)
{
	sim.current = before;
}

nsec_t os_loop_waited(const struct os_loop *loop)
{
	return 0;
}

/* Here nobody pays for being woken. */
void os_loop_coalesce(struct os_loop *loop, nsec_t span)
{
}

/* Nor threads, nor a core for them. */
unsigned os_cores_allowed(void)
{
	return 1;
}

bool os_cores_idle(nsec_t *ret)
{
	return false;
}

bool os_thread_delay(nsec_t *ret)
{
	return false;
}

enum err os_crew_new(struct os_loop *loop, const struct os_crew_config *cfg, struct os_crew **ret)
{
	return ERR_UNSUPPORTED;
}

void os_crew_free(struct os_crew *crew)
{
}

struct os_crew_piece *os_crew_hand(struct os_crew *crew, void *arg)
{
	return NULL;
}

bool os_crew_take_back(struct os_crew *crew, struct os_crew_piece *p)
{
	return false;
}

bool os_crew_is_done(struct os_crew *crew, struct os_crew_piece *p)
{
	return false;
}

void os_crew_call(struct os_crew *crew)
{
}

nsec_t os_crew_handed(const struct os_crew_piece *p)
{
	return 0;
}

void os_crew_get_stats(const struct os_crew *crew, struct os_crew_stats *ret)
{
	*ret = (struct os_crew_stats){ 0 };
}

/* There are no processes here, so the cipher stays the first one. */
enum err os_task_start(struct os_loop *loop, os_task_work work, void *arg, nsec_t deadline, os_task_fn fn, void *ctx,
		       struct os_task **ret)
{
	return ERR_UNSUPPORTED;
}

void os_task_cancel(struct os_task *t)
{
}

uint64_t os_machine_print(void)
{
	return 1;
}

/* ---- timers ---- */

void os_timer_init(struct os_timer *t, struct os_loop *loop, void (*fn)(void *ctx), void *ctx)
{
	*t = (struct os_timer){ .loop = loop, .fn = fn, .ctx = ctx };
	heap_node_init(&t->node);
}

void os_timer_cancel(struct os_timer *t)
{
	if (t->loop)
		heap_remove(&t->loop->timers, &t->node);
}

void os_timer_set(struct os_timer *t, nsec_t at)
{
	if (at == NSEC_NEVER)
		os_timer_cancel(t);
	else
		heap_set(&t->loop->timers, &t->node, at);
}

void os_late_init(struct os_late *l, struct os_loop *loop, void (*fn)(void *ctx), void *ctx)
{
	*l = (struct os_late){ .loop = loop, .fn = fn, .ctx = ctx };
	list_init(&l->link);
}

void os_late_ask(struct os_late *l)
{
	if (list_empty(&l->link))
		list_add_tail(&l->loop->lates, &l->link);
}

void os_late_cancel(struct os_late *l)
{
	if (l->loop)
		list_del(&l->link);
}

static bool run_lates(struct node *n)
{
	struct list *first;
	bool any = false;

	while ((first = list_first(&n->loop.lates))) {
		struct os_late *l = container_of(first, struct os_late, link);

		list_del(first);
		l->fn(l->ctx);
		any = true;
	}
	return any;
}

/* As os/loop.c: those that were due when the turn began, then what waits for the turn's end. */
bool sim_run_timers(struct node *n, nsec_t now)
{
	uint64_t limit = n->loop.timers.next_seq;
	struct node *before = sim_enter(n);
	struct heap_node *first;
	bool any = false;

	while ((first = heap_first(&n->loop.timers)) && first->key <= now && first->seq < limit) {
		struct os_timer *t = container_of(first, struct os_timer, node);

		heap_remove(&n->loop.timers, first);
		t->fn(t->ctx);
		any = true;
	}
	any |= run_lates(n);
	sim_leave(before);
	return any;
}

nsec_t sim_next_timer(const struct node *n)
{
	struct heap_node *first = n->frozen ? NULL : heap_first(&n->loop.timers);

	if (!n->frozen && !list_empty(&n->loop.lates))
		return sim.now;
	return first ? first->key : NSEC_NEVER;
}

/* ---- UDP ---- */

static void on_writable(void *ctx)
{
	struct os_udp *u = ctx;

	u->h.on_writable(u->h.ctx);
}

enum err os_udp_open(struct os_loop *loop, uint16_t port, const struct os_udp_handler *h, struct os_udp **ret)
{
	struct os_udp *u = calloc(1, sizeof(*u));
	struct node *n = loop->node;

	ASSERT(u);
	*u = (struct os_udp){ .node = n, .h = *h, .port = port ? port : n->port };
	os_timer_init(&u->writable, loop, on_writable, u);
	n->udp = u;
	*ret = u;
	return OK;
}

void os_udp_close(struct os_udp *u)
{
	if (!u)
		return;
	os_timer_cancel(&u->writable);
	if (u->node->udp == u)
		u->node->udp = NULL;
	free(u);
}

/* Nothing is refused here, and nothing is kept. */
void os_udp_path_changed(struct os_udp *u, const struct endpoint *remote)
{
}

void os_udp_rest(struct os_udp *u)
{
}

void os_memory_rest(void)
{
}

bool os_udp_has(const struct os_udp *u, uint8_t family)
{
	return true;
}

void os_udp_get_stats(const struct os_udp *u, struct os_udp_stats *ret)
{
	*ret = (struct os_udp_stats){ 0 };
}

uint16_t os_udp_port(const struct os_udp *u)
{
	return u->port;
}

void sim_socket_stuck(struct node *n, nsec_t until)
{
	if (n->udp)
		n->udp->stuck_until = until;
}

enum err os_udp_send(struct os_udp *u, const struct path_addr *path, const uint8_t *p, size_t len, uint16_t seg_len)
{
	struct node *n = u->node;
	struct sim *s = n->sim;
	size_t skip = u->n_left;

	if (n->crashing)
		return OK;
	if (path->local.family != IP_NONE && !ip_addr_equal(&path->local, &n->local)) {
		sim_seen(s, SEEN_BAD_SOURCE);
		return ERR_INVALID;
	}
	if (!path_is_lossless(s) && rng_chance(&s->world.rng, s->unreachable_ppm)) {
		sim_seen(s, SEEN_UNREACHABLE);
		u->n_left = 0;
		return ERR_UNREACHABLE;
	}
	for (size_t i = 0, off = 0; off < len; i++, off += seg_len) {
		if (i < skip)
			continue;
		/* Some of a run leave before the socket is full. */
		if (u->stuck_until > s->now && rng_chance(&s->world.rng, 500000)) {
			u->n_left = i;
			s->wire.stuck_until[n->id] = u->stuck_until;
			os_timer_set(&u->writable, u->stuck_until);
			sim_seen(s, SEEN_STUCK);
			return ERR_AGAIN;
		}
		path_send(s, n, &path->remote, p + off, MIN((size_t)seg_len, len - off));
	}
	u->n_left = 0;
	return OK;
}

/* ---- files: a node has one ---- */

enum err os_file_read(const char *path, size_t max, char **ret, size_t *ret_len)
{
	struct node *n = sim.current;

	if (!n->file)
		return ERR_NOT_FOUND;
	if (n->file_len > max)
		return ERR_TOO_LONG;
	*ret = malloc(n->file_len + 1);
	ASSERT(*ret);
	memcpy(*ret, n->file, n->file_len);
	(*ret)[n->file_len] = '\0';
	*ret_len = n->file_len;
	return OK;
}

void os_file_sweep(const char *path)
{
}

enum err os_file_write_atomic(const char *path, const void *buf, size_t len, unsigned mode)
{
	struct node *n = sim.current;

	if (n->crashing)
		return OK;
	if (n->disk_full) {
		sim_seen(n->sim, SEEN_DISK_FULL);
		return ERR_NO_SPACE;
	}
	free(n->file);
	n->file = malloc(len + 1);
	ASSERT(n->file);
	memcpy(n->file, buf, len);
	n->file[len] = '\0';
	n->file_len = len;
	if (!plant_is(n->sim, RULE_INIT_DISK))
		sscanf(n->file, "version %*u watermark %" SCNu64, &n->disk_watermark);
	return OK;
}

/* ---- between tunnel/ and wg/, netstack/ ---- */

enum wg_send __real_wg_device_send(struct wg_device *dev, nsec_t now, const struct iovec *iov, int iovcnt, size_t len);
enum wg_send __wrap_wg_device_send(struct wg_device *dev, nsec_t now, const struct iovec *iov, int iovcnt, size_t len);
void __real_net_if_input(struct net_if *nif, struct pktbuf **pbs, size_t n);
void __wrap_net_if_input(struct net_if *nif, struct pktbuf **pbs, size_t n);
struct pktpool *__real_pktpool_new(uint32_t n_max);
struct pktpool *__wrap_pktpool_new(uint32_t n_max);
void __real_pktpool_free(struct pktpool *pool);
void __wrap_pktpool_free(struct pktpool *pool);

/* A TCP segment, as sequence numbers, flags and length */
static void trace_inner(const struct node *n, const uint8_t *p, size_t len)
{
	bool v6 = p[0] >> 4 == 6;
	const uint8_t *t = p + (v6 ? 40 : 20);

	if ((v6 ? p[6] : p[9]) == 6)
		sim_trace(&sim, "node %d: %u > %u seq %u ack %u window %u flags 0x%02x, %zu bytes", n->id, get_be16(t),
			  get_be16(t + 2), get_be32(t + 4), get_be32(t + 8), get_be16(t + 14), t[13],
			  (size_t)(p + len - t) - (size_t)(t[12] >> 4) * 4);
}

enum wg_send __wrap_wg_device_send(struct wg_device *dev, nsec_t now, const struct iovec *iov, int iovcnt, size_t len)
{
	struct node *n = node_by_device(&sim, dev);
	uint8_t flat[2048];
	size_t have = 0;
	enum wg_send sent;

	ASSERT(len <= sizeof(flat) - 64);
	for (int i = 0; i < iovcnt; i++) {
		memcpy(flat + have, iov[i].iov_base, iov[i].iov_len);
		have += iov[i].iov_len;
	}
	if (have != len)
		sim_broken(&sim, RULE_PACKET, "pieces that are not the whole");
	if (plant_small_mss(&sim, flat, len))
		sent = __real_wg_device_send(dev, now, &(struct iovec){ flat, len }, 1, len);
	else
		sent = __real_wg_device_send(dev, now, iov, iovcnt, len);
	/* What was not taken will come again. */
	if (sent != WG_SEND_BLOCKED) {
		if (sim.trace)
			trace_inner(n, flat, len);
		sim_check(&sim, inner_sent(&sim.inner, n->group, flat, len, n->mtu));
		plant_inner_out(&sim, n, flat, len);
	}
	return sent;
}

void __wrap_net_if_input(struct net_if *nif, struct pktbuf **pbs, size_t n)
{
	struct node *node = node_by_if(&sim, nif);

	for (size_t i = 0; i < n; i++) {
		uint8_t *p = pbs[i]->data + pbs[i]->off;

		if (plant_once(&sim, RULE_FORGED))
			p[pbs[i]->len - 1] ^= 1;
		for (int twice = plant_once(&sim, RULE_REPLAYED); twice >= 0; twice--)
			sim_check(&sim, inner_delivered(&sim.inner, node->group, p, pbs[i]->len));
		plant_inner_in(&sim, p, pbs[i]->len);
	}
	__real_net_if_input(nif, pbs, n);
}

struct pktpool *__wrap_pktpool_new(uint32_t n_max)
{
	return sim_pool = __real_pktpool_new(n_max);
}

void __wrap_pktpool_free(struct pktpool *pool)
{
	sim_pool = NULL;
	__real_pktpool_free(pool);
}

/* ---- memory ---- */

static long n_live;

long sim_live_blocks(void)
{
	return n_live;
}

void *__real_malloc(size_t len);
void *__real_calloc(size_t n, size_t len);
void *__real_realloc(void *p, size_t len);
void __real_free(void *p);
void *__wrap_malloc(size_t len);
void *__wrap_calloc(size_t n, size_t len);
void *__wrap_realloc(void *p, size_t len);
void *__real_aligned_alloc(size_t align, size_t len);
void *__wrap_aligned_alloc(size_t align, size_t len);
void __wrap_free(void *p);

void *__wrap_malloc(size_t len)
{
	n_live++;
	return __real_malloc(len);
}

void *__wrap_calloc(size_t n, size_t len)
{
	n_live++;
	return __real_calloc(n, len);
}

void *__wrap_aligned_alloc(size_t align, size_t len)
{
	n_live++;
	return __real_aligned_alloc(align, len);
}

void *__wrap_realloc(void *p, size_t len)
{
	n_live += !p;
	return __real_realloc(p, len);
}

void __wrap_free(void *p)
{
	n_live -= !!p;
	__real_free(p);
}
